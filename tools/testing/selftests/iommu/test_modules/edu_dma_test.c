// SPDX-License-Identifier: GPL-2.0
/*
 * Point the DMA engine of QEMU's "edu" device at any bus address.
 *
 * An isolation test needs a device that can be told to write where it must
 * not. For each edu device this driver holds two pages: one mapped in the
 * device's default domain through the DMA API, and a victim that is mapped
 * for no device. They are shown in debugfs, edu_dma_test/<device>/:
 *
 *   mapped_address  bus address of the mapped page
 *   mapped_value    its first 64 bits
 *   victim_address  physical address of the victim page
 *   victim_value    its first 64 bits
 *   dma_write       takes "<bus address> <value>": the device first reads the
 *                   value by DMA from the mapped page's last 64 bits, then
 *                   writes it to the bus address
 *   dma_stream      takes "<value>": the victim page is mapped for the device
 *                   through the DMA API, the device writes the value there,
 *                   the page is unmapped
 *
 * With dma_bits=28 the driver asks for no more than what the device can do
 * unless QEMU is told otherwise.
 *
 * A device to which no driver can be bound may still be one that does DMA.
 * edu_dma_test/unbound_write takes "<device> <bus address>": the device, which
 * nothing was mapped for, writes 64 bits of zeroes there.
 *
 * Whether a value arrived is for the reader of the files to see: a device
 * learns nothing of a write that the IOMMU blocked.
 */

#include <linux/debugfs.h>
#include <linux/dma-mapping.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/uaccess.h>

#include "edu.h"

#define VICTIM_VALUE		0x756e746f75636865ULL

struct edu {
	struct device *dev;
	void __iomem *regs;
	struct dentry *dir;
	/* The engine does one transfer at a time. */
	struct mutex lock;
	u64 *mapped;
	dma_addr_t mapped_address;
	u64 *victim;
	u64 victim_address;
};

static struct dentry *edu_root;

static unsigned int dma_bits = 64;
module_param(dma_bits, uint, 0444);
MODULE_PARM_DESC(dma_bits, "Bits of a DMA address that the driver asks for");

/* The value to write is taken from the end of the mapped page. */
static unsigned int edu_source_index(void)
{
	return PAGE_SIZE / sizeof(u64) - 1;
}

static int edu_write_value(struct edu *edu, u64 address, u64 value)
{
	unsigned int index = edu_source_index();
	int ret;

	guard(mutex)(&edu->lock);

	WRITE_ONCE(edu->mapped[index], value);
	/* The device reads the value when the engine is started. */
	dma_wmb();
	ret = edu_transfer(edu->regs,
			   edu->mapped_address + index * sizeof(u64),
			   EDU_BUFFER, 0);
	if (ret)
		return ret;

	return edu_transfer(edu->regs, EDU_BUFFER, address, EDU_DMA_TO_MEMORY);
}

static ssize_t edu_dma_write(struct file *file, const char __user *user,
			     size_t count, loff_t *pos)
{
	struct edu *edu = file->private_data;
	u64 address, value;
	char text[64];
	int ret;

	if (count >= sizeof(text))
		return -EINVAL;
	if (copy_from_user(text, user, count))
		return -EFAULT;
	text[count] = '\0';
	if (sscanf(text, "%llx %llx", &address, &value) != 2)
		return -EINVAL;

	ret = edu_write_value(edu, address, value);
	return ret ?: count;
}

static const struct file_operations edu_dma_write_fops = {
	.owner = THIS_MODULE,
	.open = simple_open,
	.write = edu_dma_write,
};

static int edu_stream_value(struct edu *edu, u64 value)
{
	dma_addr_t address;
	int ret;

	address = dma_map_single(edu->dev, edu->victim, PAGE_SIZE,
				 DMA_FROM_DEVICE);
	if (dma_mapping_error(edu->dev, address))
		return -ENOMEM;
	ret = edu_write_value(edu, address, value);
	dma_unmap_single(edu->dev, address, PAGE_SIZE, DMA_FROM_DEVICE);
	return ret;
}

static ssize_t edu_dma_stream(struct file *file, const char __user *user,
			      size_t count, loff_t *pos)
{
	u64 value;
	int ret;

	ret = kstrtou64_from_user(user, count, 0, &value);
	if (!ret)
		ret = edu_stream_value(file->private_data, value);
	return ret ?: count;
}

static const struct file_operations edu_dma_stream_fops = {
	.owner = THIS_MODULE,
	.open = simple_open,
	.write = edu_dma_stream,
};

/* What software that does not care for drivers could make a device do */
static int edu_write_unbound(struct pci_dev *pdev, u64 address)
{
	void __iomem *regs;
	int ret;

	device_lock_assert(&pdev->dev);

	ret = pci_enable_device_mem(pdev);
	if (ret)
		return ret;
	regs = pci_iomap(pdev, 0, 0);
	if (!regs) {
		ret = -ENOMEM;
		goto out_disable;
	}

	pci_set_master(pdev);
	ret = edu_transfer(regs, EDU_BUFFER, address, EDU_DMA_TO_MEMORY);
	pci_clear_master(pdev);

	pci_iounmap(pdev, regs);
out_disable:
	pci_disable_device(pdev);
	return ret;
}

static ssize_t edu_unbound_write(struct file *file, const char __user *user,
				 size_t count, loff_t *pos)
{
	unsigned int domain, bus, device, function;
	struct pci_dev *pdev;
	char text[64];
	u64 address;
	int ret;

	if (count >= sizeof(text))
		return -EINVAL;
	if (copy_from_user(text, user, count))
		return -EFAULT;
	text[count] = '\0';
	if (sscanf(text, "%x:%x:%x.%x %llx", &domain, &bus, &device, &function,
		   &address) != 5)
		return -EINVAL;

	pdev = pci_get_domain_bus_and_slot(domain, bus,
					   PCI_DEVFN(device, function));
	if (!pdev)
		return -ENODEV;
	device_lock(&pdev->dev);
	if (pdev->vendor != EDU_VENDOR || pdev->device != EDU_DEVICE)
		ret = -ENODEV;
	else if (pdev->dev.driver)
		ret = -EBUSY;
	else
		ret = edu_write_unbound(pdev, address);
	device_unlock(&pdev->dev);
	pci_dev_put(pdev);
	return ret ?: count;
}

static const struct file_operations edu_unbound_write_fops = {
	.owner = THIS_MODULE,
	.write = edu_unbound_write,
};

static void edu_make_files(struct edu *edu)
{
	edu->dir = debugfs_create_dir(dev_name(edu->dev), edu_root);
	/* dma_addr_t is 64 bits wide wherever this device is emulated. */
	BUILD_BUG_ON(sizeof(dma_addr_t) != sizeof(u64));
	debugfs_create_x64("mapped_address", 0400, edu->dir,
			   (u64 *)&edu->mapped_address);
	debugfs_create_x64("mapped_value", 0400, edu->dir, edu->mapped);
	debugfs_create_x64("victim_address", 0400, edu->dir,
			   &edu->victim_address);
	debugfs_create_x64("victim_value", 0400, edu->dir, edu->victim);
	debugfs_create_file("dma_write", 0200, edu->dir, edu,
			    &edu_dma_write_fops);
	debugfs_create_file("dma_stream", 0200, edu->dir, edu,
			    &edu_dma_stream_fops);
}

static int edu_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct device *dev = &pdev->dev;
	struct edu *edu;
	int ret;

	edu = devm_kzalloc(dev, sizeof(*edu), GFP_KERNEL);
	if (!edu)
		return -ENOMEM;
	edu->dev = dev;
	mutex_init(&edu->lock);

	ret = pcim_enable_device(pdev);
	if (ret)
		return ret;
	edu->regs = pcim_iomap(pdev, 0, 0);
	if (!edu->regs)
		return -ENOMEM;
	ret = dma_set_mask_and_coherent(dev, DMA_BIT_MASK(dma_bits));
	if (ret)
		return ret;

	edu->victim = (u64 *)devm_get_free_pages(dev, GFP_KERNEL, 0);
	if (!edu->victim)
		return -ENOMEM;
	*edu->victim = VICTIM_VALUE;
	edu->victim_address = virt_to_phys(edu->victim);

	edu->mapped = dma_alloc_coherent(dev, PAGE_SIZE, &edu->mapped_address,
					 GFP_KERNEL);
	if (!edu->mapped)
		return -ENOMEM;

	pci_set_master(pdev);
	pci_set_drvdata(pdev, edu);
	edu_make_files(edu);
	return 0;
}

static void edu_remove(struct pci_dev *pdev)
{
	struct edu *edu = pci_get_drvdata(pdev);

	debugfs_remove(edu->dir);
	pci_clear_master(pdev);
	dma_free_coherent(edu->dev, PAGE_SIZE, edu->mapped,
			  edu->mapped_address);
}

static const struct pci_device_id edu_ids[] = {
	{ PCI_DEVICE(EDU_VENDOR, EDU_DEVICE) },
	{ }
};
MODULE_DEVICE_TABLE(pci, edu_ids);

static struct pci_driver edu_driver = {
	.name = "edu_dma_test",
	.id_table = edu_ids,
	.probe = edu_probe,
	.remove = edu_remove,
};

static int __init edu_init(void)
{
	int ret;

	if (dma_bits < 1 || dma_bits > 64)
		return -EINVAL;

	edu_root = debugfs_create_dir("edu_dma_test", NULL);
	debugfs_create_file("unbound_write", 0200, edu_root, NULL,
			    &edu_unbound_write_fops);
	ret = pci_register_driver(&edu_driver);
	if (ret)
		debugfs_remove(edu_root);
	return ret;
}
module_init(edu_init);

static void __exit edu_exit(void)
{
	pci_unregister_driver(&edu_driver);
	debugfs_remove(edu_root);
}
module_exit(edu_exit);

MODULE_DESCRIPTION("DMA to any address with QEMU's edu device, for tests");
MODULE_LICENSE("GPL");
