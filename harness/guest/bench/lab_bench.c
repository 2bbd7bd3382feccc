// SPDX-License-Identifier: GPL-2.0
/*
 * What ./lab bench measures inside of the kernel.
 *
 * Reading a file in debugfs, lab_bench/, does the work and shows a line
 * "<what> <ns> <rounds>" for each thing that was measured: how long it took
 * altogether, and how often it was done.
 *
 *   boot     from when the kernel found its clock, which is among the first
 *            things that it does, until this module was loaded
 *   domain   the life of a domain, with each allocator; with nothing ever
 *            mapped, and with a page mapped and unmapped meanwhile
 *   map      map and unmap of memory for DMA
 *   hot_add  each function of QEMU's "edu" device on bus 0, taken away before
 *            and then added one by one; <what> is how many there are then
 *
 * The device for domain and map is the parameter "device". It needs a group of
 * its own, and no driver. The parameter "rounds" says how often.
 */

#include <linux/debugfs.h>
#include <linux/dma-mapping.h>
#include <linux/iommu.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/pci.h>
#include <linux/sched/clock.h>
#include <linux/seq_file.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/timekeeping.h>

#define EDU_VENDOR	0x1234
#define EDU_DEVICE	0x11e8
#define MAX_FUNCTIONS	256
/* Rounds before the ones that count, in which caches and pools fill */
#define WARM_UP		32
/* Nothing does DMA there. */
#define USED_IOVA	SZ_256M
#define USED_PHYS	SZ_256M
/* An output that outgrows its buffer would be made, and measured, again. */
#define OUTPUT_SIZE	SZ_64K

static char device_name[32];
module_param_string(device, device_name, sizeof(device_name), 0644);
MODULE_PARM_DESC(device, "PCI address of the device for domain and map");

static unsigned int rounds = 256;
module_param(rounds, uint, 0644);
MODULE_PARM_DESC(rounds, "How often domain and map do their work");

static u64 boot_ns;
static struct dentry *root;

static struct device *find_device(void)
{
	return bus_find_device_by_name(&pci_bus_type, NULL,
				       strim(device_name));
}

static int boot_show(struct seq_file *out, void *unused)
{
	seq_printf(out, "boot %llu 1\n", boot_ns);
	return 0;
}

/* The life of a domain */

enum domain_step { ALLOC, ATTACH, DETACH, FREE, DOMAIN_STEPS };

static const char * const domain_steps[DOMAIN_STEPS] = {
	[ALLOC] = "alloc",
	[ATTACH] = "attach",
	[DETACH] = "detach",
	[FREE] = "free",
};

struct allocator {
	const char *name;
	struct iommu_domain *(*alloc)(struct device *dev);
};

#if defined(HAVE_USER_DOMAIN_ALLOC)
static struct iommu_domain *user_domain_alloc(struct device *dev)
{
	return iommu_user_domain_alloc(dev, 0);
}
#elif defined(HAVE_BUS_DOMAIN_ALLOC)
static struct iommu_domain *user_domain_alloc(struct device *dev)
{
	return iommu_domain_alloc(dev->bus) ?: ERR_PTR(-ENOMEM);
}
#endif

static const struct allocator allocators[] = {
	{ "paging", iommu_paging_domain_alloc },
#if defined(HAVE_USER_DOMAIN_ALLOC) || defined(HAVE_BUS_DOMAIN_ALLOC)
	{ "user", user_domain_alloc },
#endif
};

static int use_domain(struct iommu_domain *domain)
{
	int ret = iommu_map(domain, USED_IOVA, USED_PHYS, SZ_4K, IOMMU_READ,
			    GFP_KERNEL);

	if (ret)
		return ret;
	return iommu_unmap(domain, USED_IOVA, SZ_4K) == SZ_4K ? 0 : -EIO;
}

/* Add what each step of one domain's life took to ns, but not its use. */
static int live_once(struct device *dev, const struct allocator *allocator,
		     bool used, u64 *ns)
{
	struct iommu_domain *domain;
	u64 start;
	int ret;

	start = ktime_get_ns();
	domain = allocator->alloc(dev);
	if (IS_ERR(domain))
		return PTR_ERR(domain);
	ns[ALLOC] += ktime_get_ns() - start;

	start = ktime_get_ns();
	ret = iommu_attach_device(domain, dev);
	if (ret)
		goto out_free;
	ns[ATTACH] += ktime_get_ns() - start;

	if (used)
		ret = use_domain(domain);

	start = ktime_get_ns();
	iommu_detach_device(domain, dev);
	ns[DETACH] += ktime_get_ns() - start;

out_free:
	start = ktime_get_ns();
	iommu_domain_free(domain);
	ns[FREE] += ktime_get_ns() - start;
	return ret;
}

static int measure_domain(struct seq_file *out, struct device *dev,
			  const struct allocator *allocator, bool used)
{
	u64 ns[DOMAIN_STEPS] = {};
	unsigned int round, step;
	int ret;

	for (round = 0; round < WARM_UP + rounds; round++) {
		if (round == WARM_UP)
			memset(ns, 0, sizeof(ns));
		ret = live_once(dev, allocator, used, ns);
		if (ret)
			return ret;
	}
	for (step = 0; step < DOMAIN_STEPS; step++)
		seq_printf(out, "%s%s-%s %llu %u\n", allocator->name,
			   used ? "-used" : "", domain_steps[step], ns[step],
			   rounds);
	return 0;
}

static int domain_show(struct seq_file *out, void *unused)
{
	struct device *dev = find_device();
	unsigned int i;
	int ret = 0;

	if (!dev)
		return -ENODEV;
	for (i = 0; i < ARRAY_SIZE(allocators) && !ret; i++) {
		ret = measure_domain(out, dev, &allocators[i], false);
		if (!ret)
			ret = measure_domain(out, dev, &allocators[i], true);
	}
	put_device(dev);
	return ret;
}

/* Memory for DMA */

static const size_t map_sizes[] = { SZ_4K, SZ_64K, SZ_1M };

static int map_rounds(struct device *dev, void *memory, size_t size,
		      unsigned int number)
{
	unsigned int round;
	dma_addr_t address;

	for (round = 0; round < number; round++) {
		address = dma_map_single(dev, memory, size, DMA_FROM_DEVICE);
		if (dma_mapping_error(dev, address))
			return -EIO;
		dma_unmap_single(dev, address, size, DMA_FROM_DEVICE);
	}
	return 0;
}

static int measure_map(struct seq_file *out, struct device *dev, size_t size)
{
	void *memory;
	u64 start;
	int ret;

	memory = kmalloc(size, GFP_KERNEL);
	if (!memory)
		return -ENOMEM;
	ret = map_rounds(dev, memory, size, WARM_UP);
	start = ktime_get_ns();
	if (!ret)
		ret = map_rounds(dev, memory, size, rounds);
	seq_printf(out, "%zu %llu %u\n", size, ktime_get_ns() - start, rounds);
	kfree(memory);
	return ret;
}

static int map_show(struct seq_file *out, void *unused)
{
	struct device *dev = find_device();
	unsigned int i;
	int ret;

	if (!dev)
		return -ENODEV;
	ret = dma_set_mask_and_coherent(dev, DMA_BIT_MASK(64));
	for (i = 0; i < ARRAY_SIZE(map_sizes) && !ret; i++)
		ret = measure_map(out, dev, map_sizes[i]);
	put_device(dev);
	return ret;
}

/* Functions that come one by one */

static unsigned int remove_functions(struct pci_bus *bus, u8 *devfn)
{
	struct pci_dev *pdev, *next;
	unsigned int number = 0;

	list_for_each_entry_safe(pdev, next, &bus->devices, bus_list) {
		if (pdev->vendor != EDU_VENDOR || pdev->device != EDU_DEVICE ||
		    number == MAX_FUNCTIONS)
			continue;
		devfn[number++] = pdev->devfn;
		pci_stop_and_remove_bus_device(pdev);
	}
	return number;
}

static int add_function(struct seq_file *out, struct pci_bus *bus, u8 devfn,
			unsigned int number)
{
	struct pci_dev *pdev;
	u64 start;

	start = ktime_get_ns();
	pdev = pci_scan_single_device(bus, devfn);
	if (!pdev)
		return -ENODEV;
	pci_bus_add_device(pdev);
	seq_printf(out, "%u %llu 1\n", number, ktime_get_ns() - start);
	return 0;
}

static int hot_add_show(struct seq_file *out, void *unused)
{
	struct pci_bus *bus = pci_find_bus(0, 0);
	u8 devfn[MAX_FUNCTIONS];
	unsigned int number, i;
	int ret = 0;

	if (!bus)
		return -ENODEV;
	pci_lock_rescan_remove();
	number = remove_functions(bus, devfn);
	for (i = 0; i < number && !ret; i++)
		ret = add_function(out, bus, devfn[i], i + 1);
	pci_unlock_rescan_remove();
	return ret;
}

/* The files */

#define SHOWN_IN_ONE_GO(name)						\
static int name##_open(struct inode *inode, struct file *file)		\
{									\
	return single_open_size(file, name##_show, NULL, OUTPUT_SIZE);	\
}									\
static const struct file_operations name##_fops = {			\
	.owner = THIS_MODULE,						\
	.open = name##_open,						\
	.read = seq_read,						\
	.llseek = seq_lseek,						\
	.release = single_release,					\
}

SHOWN_IN_ONE_GO(boot);
SHOWN_IN_ONE_GO(domain);
SHOWN_IN_ONE_GO(map);
SHOWN_IN_ONE_GO(hot_add);

static int __init lab_bench_init(void)
{
	/* ktime_get() counted whole ticks at first, which is too coarse. */
	boot_ns = sched_clock();

	root = debugfs_create_dir("lab_bench", NULL);
	debugfs_create_file("boot", 0400, root, NULL, &boot_fops);
	debugfs_create_file("domain", 0400, root, NULL, &domain_fops);
	debugfs_create_file("map", 0400, root, NULL, &map_fops);
	debugfs_create_file("hot_add", 0400, root, NULL, &hot_add_fops);
	return 0;
}
module_init(lab_bench_init);

static void __exit lab_bench_exit(void)
{
	debugfs_remove(root);
}
module_exit(lab_bench_exit);

MODULE_DESCRIPTION("What ./lab bench measures inside of the kernel");
MODULE_LICENSE("GPL");
