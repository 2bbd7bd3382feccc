// SPDX-License-Identifier: GPL-2.0
/*
 * A driver whose device has several domains.
 *
 * It is the example of Documentation/driver-api/iommu-aux-domain.rst, which
 * shows what is between the two marks. The device is one of pasid_bus.c: it
 * has a few pieces, each of which is told a PASID.
 */

#include <linux/iommu.h>
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/slab.h>

#include "pasid_bus.h"

#define PIECES	2

/* The example begins here */
#define PIECE_IOVA(n)	(0x100000UL * ((n) + 1))

/* A part of the device that has a user, and memory, of its own */
struct piece {
	struct iommu_domain *domain;
	void *page;
};

struct example {
	struct pci_dev *pdev;
	struct piece pieces[PIECES];
};

static void example_set_pasid(struct example *example, int n, u32 pasid)
{
	pci_write_config_dword(example->pdev, PASID_BUS_PIECE(n), pasid);
}

static int example_start_piece(struct example *example, int n)
{
	struct piece *piece = &example->pieces[n];
	struct device *dev = &example->pdev->dev;
	int ret;

	piece->page = (void *)get_zeroed_page(GFP_KERNEL);
	if (!piece->page)
		return -ENOMEM;

	piece->domain = iommu_paging_domain_alloc(dev);
	if (IS_ERR(piece->domain)) {
		ret = PTR_ERR(piece->domain);
		goto err_free_page;
	}
	ret = iommu_map(piece->domain, PIECE_IOVA(n),
			virt_to_phys(piece->page), PAGE_SIZE,
			IOMMU_READ | IOMMU_WRITE | IOMMU_CACHE, GFP_KERNEL);
	if (ret)
		goto err_free_domain;

	ret = iommu_aux_attach_device(piece->domain, dev);
	if (ret)
		goto err_free_domain;

	/* From now on the piece reaches this page, and nothing else */
	example_set_pasid(example, n, iommu_auxiliary_id(piece->domain));
	return 0;

err_free_domain:
	iommu_domain_free(piece->domain);
err_free_page:
	free_page((unsigned long)piece->page);
	return ret;
}

static void example_stop_piece(struct example *example, int n)
{
	struct piece *piece = &example->pieces[n];

	/* First the device, then the domain, then the memory */
	example_set_pasid(example, n, 0);
	iommu_aux_detach_device(piece->domain, &example->pdev->dev);
	iommu_domain_free(piece->domain);
	free_page((unsigned long)piece->page);
}

static int example_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct device *dev = &pdev->dev;
	struct example *example;
	int ret, n;

	example = devm_kzalloc(dev, sizeof(*example), GFP_KERNEL);
	if (!example)
		return -ENOMEM;
	example->pdev = pdev;
	pci_set_drvdata(pdev, example);

	ret = pcim_enable_device(pdev);
	if (ret)
		return ret;
	pci_set_master(pdev);

	if (!device_iommu_capable(dev, IOMMU_CAP_AUX_DOMAIN))
		return dev_err_probe(dev, -EOPNOTSUPP,
				     "No IOMMU keeps the pieces apart\n");
	ret = iommu_enable_aux_domain(dev);
	if (ret)
		return ret;

	for (n = 0; n < PIECES; n++) {
		ret = example_start_piece(example, n);
		if (ret)
			goto err_stop;
	}
	return 0;

err_stop:
	while (n--)
		example_stop_piece(example, n);
	iommu_disable_aux_domain(dev);
	return ret;
}

static void example_remove(struct pci_dev *pdev)
{
	struct example *example = pci_get_drvdata(pdev);

	for (int n = PIECES; n--; )
		example_stop_piece(example, n);
	iommu_disable_aux_domain(&pdev->dev);
}

/* The example ends here */

static const struct pci_device_id example_ids[] = {
	{ PCI_DEVICE(PASID_BUS_VENDOR, PASID_BUS_DEVICE) },
	{ }
};
MODULE_DEVICE_TABLE(pci, example_ids);

static struct pci_driver example_driver = {
	.name = "aux_domain_example",
	.id_table = example_ids,
	.probe = example_probe,
	.remove = example_remove,
};
module_pci_driver(example_driver);

MODULE_DESCRIPTION("Several domains on one device, an example");
MODULE_LICENSE("GPL");
