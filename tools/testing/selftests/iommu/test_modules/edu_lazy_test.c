// SPDX-License-Identifier: GPL-2.0
/*
 * Hold one unmap where lazy invalidation has left it.
 *
 * In a domain of type DMA-FQ an unmapped address stays in the IOMMU's caches
 * for a while, and a device that has used it can go on. When the group is
 * changed to DMA that must have an end, whatever had been unmapped before, and
 * for an unmap that had only begun as well.
 *
 * QEMU's "edu" device is bound to this driver by name only, with
 * driver_override. In debugfs, edu_lazy_test/:
 *
 *   run      takes "queued" or "begun", and returns when it is done. A page is
 *            mapped through the DMA API, and the device writes FIRST to it.
 *            Then the page is unmapped, and the device writes SECOND to where
 *            it was. In between it waits until "go" is written: after the
 *            unmap, or inside of it, where the IOMMU's tables have been
 *            cleared and no flush was queued yet.
 *   waiting  whether it waits
 *   go       1 ends the wait, also one that has not begun yet
 *   address  the bus address of the page
 *   value    what is in the page
 *
 * From the unmap to the end, the timer that flushes a queue cannot run: timers
 * fire on the CPU that has started them, and this one is kept busy with
 * softirqs disabled. So the waits end after WAIT_SECONDS with an error, and go
 * has to come from another CPU.
 */

#include <linux/bottom_half.h>
#include <linux/debugfs.h>
#include <linux/dma-mapping.h>
#include <linux/kprobes.h>
#include <linux/ktime.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/string.h>
#include <linux/uaccess.h>

#include "edu.h"

#define WAIT_SECONDS	60

#define FIRST		0x1111111111111111ULL
#define SECOND		0x2222222222222222ULL

struct edu {
	struct device *dev;
	void __iomem *regs;
	struct dentry *dir;
	/* What the device reads before it writes it */
	u64 *source;
	dma_addr_t source_address;
	/* What it writes to */
	u64 *page;
	dma_addr_t address;
};

/* One run at a time, whatever the device */
static DEFINE_MUTEX(edu_lock);
/* The task whose unmap is held inside, or NULL */
static struct task_struct *edu_held;
static bool edu_waiting;
static bool edu_go;
static int edu_wait_result;

static void edu_wait_for_go(void)
{
	ktime_t end = ktime_add_ms(ktime_get(), WAIT_SECONDS * MSEC_PER_SEC);

	WRITE_ONCE(edu_waiting, true);
	while (!READ_ONCE(edu_go)) {
		if (ktime_after(ktime_get(), end)) {
			edu_wait_result = -ETIMEDOUT;
			break;
		}
		cpu_relax();
	}
	WRITE_ONCE(edu_waiting, false);
}

/*
 * The DMA API has seen that the domain is lazy, the IOMMU's driver has cleared
 * its tables, and what comes next is the queue.
 */
static int edu_unmapped(struct kretprobe_instance *instance,
			struct pt_regs *regs)
{
	if (READ_ONCE(edu_held) == current)
		edu_wait_for_go();
	return 0;
}

static struct kretprobe edu_probe_unmap = {
	.handler = edu_unmapped,
	.kp.symbol_name = "iommu_unmap_fast",
};

/* The device gets a value into its buffer */
static int edu_load(struct edu *edu, u64 value)
{
	WRITE_ONCE(*edu->source, value);
	/* The device reads the value when the engine is started. */
	dma_wmb();
	return edu_transfer(edu->regs, edu->source_address, EDU_BUFFER, 0);
}

static int edu_unmap_and_write(struct edu *edu, bool inside)
{
	int ret;

	edu_wait_result = 0;
	local_bh_disable();
	WRITE_ONCE(edu_held, inside ? current : NULL);
	dma_unmap_single(edu->dev, edu->address, PAGE_SIZE, DMA_FROM_DEVICE);
	WRITE_ONCE(edu_held, NULL);
	if (!inside)
		edu_wait_for_go();
	ret = edu_transfer_atomic(edu->regs, EDU_BUFFER, edu->address,
				  EDU_DMA_TO_MEMORY);
	local_bh_enable();
	WRITE_ONCE(edu_go, false);
	return ret ?: edu_wait_result;
}

static int edu_do_run(struct edu *edu, bool inside)
{
	int ret;

	lockdep_assert_held(&edu_lock);

	ret = edu_load(edu, FIRST);
	if (ret)
		return ret;
	edu->address = dma_map_single(edu->dev, edu->page, PAGE_SIZE,
				      DMA_FROM_DEVICE);
	if (dma_mapping_error(edu->dev, edu->address))
		return -ENOMEM;
	ret = edu_transfer(edu->regs, EDU_BUFFER, edu->address,
			   EDU_DMA_TO_MEMORY);
	if (!ret)
		ret = edu_load(edu, SECOND);
	if (!ret && READ_ONCE(*edu->page) != FIRST)
		ret = -EIO;
	if (ret) {
		dma_unmap_single(edu->dev, edu->address, PAGE_SIZE,
				 DMA_FROM_DEVICE);
		return ret;
	}
	return edu_unmap_and_write(edu, inside);
}

static ssize_t edu_run(struct file *file, const char __user *user,
		       size_t count, loff_t *pos)
{
	char text[16];
	int ret;

	if (count >= sizeof(text))
		return -EINVAL;
	if (copy_from_user(text, user, count))
		return -EFAULT;
	text[count] = '\0';

	guard(mutex)(&edu_lock);
	if (sysfs_streq(text, "begun"))
		ret = edu_do_run(file->private_data, true);
	else if (sysfs_streq(text, "queued"))
		ret = edu_do_run(file->private_data, false);
	else
		ret = -EINVAL;
	return ret ?: count;
}

static const struct file_operations edu_run_fops = {
	.owner = THIS_MODULE,
	.open = simple_open,
	.write = edu_run,
};

static int edu_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct device *dev = &pdev->dev;
	struct edu *edu;
	int ret;

	edu = devm_kzalloc(dev, sizeof(*edu), GFP_KERNEL);
	if (!edu)
		return -ENOMEM;
	edu->dev = dev;
	ret = pcim_enable_device(pdev);
	if (ret)
		return ret;
	edu->regs = pcim_iomap(pdev, 0, 0);
	if (!edu->regs)
		return -ENOMEM;
	ret = dma_set_mask_and_coherent(dev, DMA_BIT_MASK(64));
	if (ret)
		return ret;
	edu->page = (u64 *)devm_get_free_pages(dev, GFP_KERNEL, 0);
	if (!edu->page)
		return -ENOMEM;
	edu->source = dma_alloc_coherent(dev, PAGE_SIZE, &edu->source_address,
					 GFP_KERNEL);
	if (!edu->source)
		return -ENOMEM;

	pci_set_master(pdev);
	pci_set_drvdata(pdev, edu);
	edu->dir = debugfs_create_dir("edu_lazy_test", NULL);
	debugfs_create_file("run", 0200, edu->dir, edu, &edu_run_fops);
	debugfs_create_bool("waiting", 0400, edu->dir, &edu_waiting);
	debugfs_create_bool("go", 0600, edu->dir, &edu_go);
	/* dma_addr_t is 64 bits wide wherever this device is emulated. */
	BUILD_BUG_ON(sizeof(dma_addr_t) != sizeof(u64));
	debugfs_create_x64("address", 0400, edu->dir, (u64 *)&edu->address);
	debugfs_create_x64("value", 0400, edu->dir, edu->page);
	return 0;
}

static void edu_remove(struct pci_dev *pdev)
{
	struct edu *edu = pci_get_drvdata(pdev);

	debugfs_remove(edu->dir);
	pci_clear_master(pdev);
	dma_free_coherent(edu->dev, PAGE_SIZE, edu->source,
			  edu->source_address);
}

static struct pci_driver edu_driver = {
	.name = "edu_lazy_test",
	.probe = edu_probe,
	.remove = edu_remove,
};

static int __init edu_init(void)
{
	int ret;

	ret = register_kretprobe(&edu_probe_unmap);
	if (ret)
		return ret;
	ret = pci_register_driver(&edu_driver);
	if (ret)
		unregister_kretprobe(&edu_probe_unmap);
	return ret;
}
module_init(edu_init);

static void __exit edu_exit(void)
{
	pci_unregister_driver(&edu_driver);
	unregister_kretprobe(&edu_probe_unmap);
}
module_exit(edu_exit);

MODULE_DESCRIPTION("An unmap that is held while invalidation is lazy, for tests");
MODULE_LICENSE("GPL");
