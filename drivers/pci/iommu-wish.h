/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Per-device wishes for the IOMMU default domain type, from the command line
 */
#ifndef DRIVERS_PCI_IOMMU_WISH_H
#define DRIVERS_PCI_IOMMU_WISH_H

#include <linux/printk.h>
#include <linux/string.h>
#include <linux/types.h>

struct pci_dev;

/* Is @option, which is "name=value" or only "name", the one called @name? */
static inline bool pci_iommu_wish_is(const char *option, const char *name)
{
	size_t length = strlen(name);

	return !strncmp(option, name, length) &&
	       (!option[length] || option[length] == '=');
}

#ifdef CONFIG_IOMMU_API

bool pci_iommu_wish_setup(const char *option);
void pci_set_iommu_wish(struct pci_dev *dev);

#else

/* Recognises the options, so that the kernel does not call them unknown. */
static inline bool pci_iommu_wish_setup(const char *option)
{
	if (!pci_iommu_wish_is(option, "iommu_passthrough") &&
	    !pci_iommu_wish_is(option, "iommu_translated"))
		return false;

	pr_warn_once("PCI: %.*s has no effect, this kernel has no IOMMU support\n",
		     (int)strcspn(option, "="), option);
	return true;
}

static inline void pci_set_iommu_wish(struct pci_dev *dev)
{
}

#endif /* CONFIG_IOMMU_API */

/* Longest path of bridges and device that an entry can name */
#define PCI_IOMMU_WISH_DEPTH	32

enum pci_iommu_wish_form {
	PCI_IOMMU_WISH_PATH,
	PCI_IOMMU_WISH_IDS,
	PCI_IOMMU_WISH_CLASS,
};

/**
 * struct pci_iommu_wish_entry - one entry of a list: which devices are meant
 * @form: Selects the member of the union.
 * @path: A device by its address, or by the address of a device on the way to
 *	it and the device and function numbers from there on.
 * @path.domain: PCI domain number of the first device.
 * @path.bus: Bus number of the first device.
 * @path.depth: Number of elements used in @path.devfn.
 * @path.devfn: Device and function numbers; the last one is the device meant.
 * @ids: Devices by their ids; an id of 0 stands for any.
 * @ids.vendor: Vendor id.
 * @ids.device: Device id.
 * @ids.subvendor: Subsystem vendor id.
 * @ids.subdevice: Subsystem device id.
 * @class: Devices by their class code.
 * @class.value: Class code as in struct pci_dev.
 * @class.mask: Bits of it that count.
 */
struct pci_iommu_wish_entry {
	enum pci_iommu_wish_form form;
	union {
		struct {
			int domain;
			u8 bus;
			u8 depth;
			u8 devfn[PCI_IOMMU_WISH_DEPTH];
		} path;
		struct {
			u16 vendor;
			u16 device;
			u16 subvendor;
			u16 subdevice;
		} ids;
		struct {
			u32 value;
			u32 mask;
		} class;
	};
};

/**
 * struct pci_iommu_wish_list - what one option names, over all its occurrences
 * @option: Name of the option.
 * @keep_cut: What to do with a last entry that may have been cut off: use it
 *	(and say so), or refuse it.
 * @error: Bad entries are errors in the log, otherwise warnings.
 * @entries: The good entries.
 * @count: Number of good entries.
 * @bad: Number of entries that were refused.
 */
struct pci_iommu_wish_list {
	const char *option;
	bool keep_cut;
	bool error;
	struct pci_iommu_wish_entry *entries;
	unsigned int count;
	unsigned int bad;
};

#if IS_ENABLED(CONFIG_KUNIT)
const char *pci_iommu_wish_parse(const char *text,
				 struct pci_iommu_wish_entry *entry);
int pci_iommu_wish_add(struct pci_iommu_wish_list *list, const char *value,
		       bool cut);
bool pci_iommu_wish_option_is_cut(const char *option, const char *line,
				  size_t size);
void pci_iommu_wish_apply(struct pci_dev *dev,
			  const struct pci_iommu_wish_list *passthrough,
			  const struct pci_iommu_wish_list *translated);
#endif

#endif /* DRIVERS_PCI_IOMMU_WISH_H */
