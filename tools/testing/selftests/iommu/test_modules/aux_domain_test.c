// SPDX-License-Identifier: GPL-2.0
/*
 * Several domains on one device, driven from user space, on the functions of
 * pasid_bus.c. In debugfs, aux_domain_test/:
 *
 *   capable            for every PCI device, its address and 1 if it can have
 *                      auxiliary domains, else 0
 *   domains            for every one its number in this file, its id or an
 *                      error, and the physical address of the page that is
 *                      mapped in it, at 1 MiB times the number and one
 *   <device>/command   takes one of
 *                          enable
 *                          disable
 *                          attach <number>  the domain is made for the first
 *                                           device that it is attached to
 *                          detach <number>
 *                          free <number>
 *
 * A write ends with the error of the function that was called. The driver does
 * nothing when it is bound, and leaves everything when it is unbound.
 */

#include <linux/debugfs.h>
#include <linux/iommu.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/seq_file.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "pasid_bus.h"

#define DOMAINS	300

struct test_domain {
	struct iommu_domain *domain;
	void *page;
};

static struct test_domain domains[DOMAINS];
static DEFINE_MUTEX(domains_lock);
static struct dentry *root;

static int domain_make(struct test_domain *test, struct device *dev)
{
	unsigned long iova = (test - domains + 1) * SZ_1M;
	int ret;

	lockdep_assert_held(&domains_lock);

	if (test->domain)
		return 0;
	test->page = (void *)get_zeroed_page(GFP_KERNEL);
	if (!test->page)
		return -ENOMEM;
	test->domain = iommu_paging_domain_alloc(dev);
	if (IS_ERR(test->domain)) {
		ret = PTR_ERR(test->domain);
		goto err_page;
	}
	ret = iommu_map(test->domain, iova, virt_to_phys(test->page),
			PAGE_SIZE, IOMMU_READ | IOMMU_WRITE, GFP_KERNEL);
	if (ret)
		goto err_domain;
	return 0;

err_domain:
	iommu_domain_free(test->domain);
err_page:
	test->domain = NULL;
	free_page((unsigned long)test->page);
	return ret;
}

/* When the domain is leaked, its page goes the same way */
static void domain_free(struct test_domain *test)
{
	bool attached;

	lockdep_assert_held(&domains_lock);

	if (!test->domain)
		return;
	attached = iommu_auxiliary_id(test->domain) > 0;
	iommu_domain_free(test->domain);
	if (!attached)
		free_page((unsigned long)test->page);
	*test = (struct test_domain) {};
}

static int domain_command(struct device *dev, const char *verb,
			  struct test_domain *test)
{
	int ret = 0;

	guard(mutex)(&domains_lock);

	if (!strcmp(verb, "attach")) {
		ret = domain_make(test, dev);
		return ret ?: iommu_aux_attach_device(test->domain, dev);
	}
	if (!test->domain)
		return -ENOENT;
	if (!strcmp(verb, "detach"))
		iommu_aux_detach_device(test->domain, dev);
	else if (!strcmp(verb, "free"))
		domain_free(test);
	else
		ret = -EINVAL;
	return ret;
}

static int device_command(struct device *dev, const char *text)
{
	unsigned int number;
	char verb[16];
	int words;

	words = sscanf(text, "%15s %u", verb, &number);
	if (words == 2 && number < DOMAINS)
		return domain_command(dev, verb, &domains[number]);
	if (words != 1)
		return -EINVAL;
	if (!strcmp(verb, "enable"))
		return iommu_enable_aux_domain(dev);
	if (strcmp(verb, "disable"))
		return -EINVAL;
	iommu_disable_aux_domain(dev);
	return 0;
}

static ssize_t command_write(struct file *file, const char __user *user,
			     size_t count, loff_t *pos)
{
	char text[32];
	int ret;

	if (count >= sizeof(text))
		return -EINVAL;
	if (copy_from_user(text, user, count))
		return -EFAULT;
	text[count] = '\0';

	ret = device_command(file->private_data, text);
	return ret ?: count;
}

static const struct file_operations command_fops = {
	.owner = THIS_MODULE,
	.open = simple_open,
	.write = command_write,
};

static int domains_show(struct seq_file *seq, void *unused)
{
	guard(mutex)(&domains_lock);

	for (int i = 0; i < DOMAINS; i++)
		if (domains[i].domain)
			seq_printf(seq, "%d %d %#llx\n", i,
				   iommu_auxiliary_id(domains[i].domain),
				   (u64)virt_to_phys(domains[i].page));
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(domains);

static int capable_show(struct seq_file *seq, void *unused)
{
	struct pci_dev *pdev = NULL;

	for_each_pci_dev(pdev)
		seq_printf(seq, "%s %d\n", pci_name(pdev),
			   device_iommu_capable(&pdev->dev,
						IOMMU_CAP_AUX_DOMAIN));
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(capable);

static int test_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct dentry *dir = debugfs_create_dir(pci_name(pdev), root);

	debugfs_create_file("command", 0200, dir, &pdev->dev, &command_fops);
	pci_set_drvdata(pdev, dir);
	return 0;
}

static void test_remove(struct pci_dev *pdev)
{
	debugfs_remove(pci_get_drvdata(pdev));
}

static const struct pci_device_id test_ids[] = {
	{ PCI_DEVICE(PASID_BUS_VENDOR, PASID_BUS_DEVICE) },
	{ }
};
MODULE_DEVICE_TABLE(pci, test_ids);

static struct pci_driver test_driver = {
	.name = "aux_domain_test",
	.id_table = test_ids,
	.probe = test_probe,
	.remove = test_remove,
};

static int __init test_init(void)
{
	int ret;

	root = debugfs_create_dir("aux_domain_test", NULL);
	debugfs_create_file("capable", 0400, root, NULL, &capable_fops);
	debugfs_create_file("domains", 0400, root, NULL, &domains_fops);
	ret = pci_register_driver(&test_driver);
	if (ret)
		debugfs_remove(root);
	return ret;
}
module_init(test_init);

static void __exit test_exit(void)
{
	pci_unregister_driver(&test_driver);
	debugfs_remove(root);
	mutex_lock(&domains_lock);
	for (int i = 0; i < DOMAINS; i++)
		domain_free(&domains[i]);
	mutex_unlock(&domains_lock);
}
module_exit(test_exit);

MODULE_DESCRIPTION("Several domains on one device, from user space, for tests");
MODULE_LICENSE("GPL");
