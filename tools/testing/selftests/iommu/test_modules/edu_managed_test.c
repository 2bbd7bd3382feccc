// SPDX-License-Identifier: GPL-2.0
/*
 * A driver whose DMA memory is managed: it is released when the driver is
 * gone.
 *
 * QEMU's "edu" device is bound to it by name only, with driver_override. The
 * device's memory is mapped in its default domain until the driver core has
 * released it, after remove() or after a probe() that failed, and so the
 * domain must stay for so long.
 *
 * Two parameters can be written at any time:
 *
 *   hold     while this is Y, the release waits before the memory goes;
 *            holding says whether it is waiting
 *   refuse   probe() fails at its end
 */

#include <linux/delay.h>
#include <linux/dma-mapping.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/pci.h>

#include "edu.h"

#define BUFFERS		4
#define HOLD_POLL_MS	10

static bool hold;
module_param(hold, bool, 0644);
MODULE_PARM_DESC(hold, "The release of DMA memory waits");

static bool holding;
module_param(holding, bool, 0444);
MODULE_PARM_DESC(holding, "A release of DMA memory is waiting");

static bool refuse;
module_param(refuse, bool, 0644);
MODULE_PARM_DESC(refuse, "Probing fails when it has its DMA memory");

/* Resources go in the reverse order, so this comes before the memory's. */
static void edu_hold(void *unused)
{
	WRITE_ONCE(holding, READ_ONCE(hold));
	while (READ_ONCE(hold))
		msleep(HOLD_POLL_MS);
	WRITE_ONCE(holding, false);
}

static int edu_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct device *dev = &pdev->dev;
	dma_addr_t address;
	int ret;

	ret = pcim_enable_device(pdev);
	if (ret)
		return ret;
	ret = dma_set_mask_and_coherent(dev, DMA_BIT_MASK(64));
	if (ret)
		return ret;
	for (unsigned int i = 0; i < BUFFERS; i++)
		if (!dmam_alloc_coherent(dev, PAGE_SIZE << i, &address,
					 GFP_KERNEL))
			return -ENOMEM;
	ret = devm_add_action(dev, edu_hold, NULL);
	if (ret)
		return ret;
	return READ_ONCE(refuse) ? -EIO : 0;
}

static struct pci_driver edu_driver = {
	.name = "edu_managed_test",
	.probe = edu_probe,
};
module_pci_driver(edu_driver);

MODULE_DESCRIPTION("Managed DMA memory of QEMU's edu device, for tests");
MODULE_LICENSE("GPL");
