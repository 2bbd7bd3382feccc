// SPDX-License-Identifier: GPL-2.0
/*
 * A PCI bus with functions that have PASIDs.
 *
 * QEMU 7.2 emulates an IOMMU with PASIDs, but no device that announces them.
 * This module presents some, on a root bus of its own in PCI segment 0. A
 * function is a configuration space and nothing else: it has the capabilities
 * for PASIDs, registers that remember what a driver writes, no memory and no
 * interrupt, and it never does DMA.
 *
 * Firmware does not know this bus. VT-d's driver finds the IOMMU all the same
 * when the bus's number is one of those that a port has in reserve, and
 * firmware names the port: then it is for it behind the port.
 *
 * Each function is a device of its own, an endpoint of the root complex, so
 * each gets an IOMMU group of its own.
 */

#include <linux/iommu.h>
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/unaligned.h>

#include "pasid_bus.h"

#define MAX_FUNCTIONS	4

#define CAP_EXPRESS	0x40
#define CAP_PASID	0x100

static unsigned int bus_number = 3;
module_param_named(bus, bus_number, uint, 0444);
MODULE_PARM_DESC(bus, "Number of the bus");

static unsigned int functions = 2;
module_param(functions, uint, 0444);
MODULE_PARM_DESC(functions, "How many functions are on it");

static unsigned int bits[MAX_FUNCTIONS] = { 8, 8, 8, 8 };
module_param_array(bits, uint, NULL, 0444);
MODULE_PARM_DESC(bits, "Bits of each function's PASIDs");

/*
 * QEMU 7.2 says that the IOMMU's tables have PASIDs 0 and 1 only, though the
 * driver's have 32768. No device sends any, so more can be put in the tables.
 */
static unsigned int iommu_pasids;
module_param(iommu_pasids, uint, 0444);
MODULE_PARM_DESC(iommu_pasids, "PASIDs of the IOMMU, if not what it says");

static u8 spaces[MAX_FUNCTIONS][PCI_CFG_SPACE_EXP_SIZE];
static struct pci_bus *root;
static struct iommu_device *iommu;
static u32 old_pasids;

static u8 *space_of(unsigned int devfn)
{
	unsigned int slot = PCI_SLOT(devfn);

	if (PCI_FUNC(devfn) || slot >= functions)
		return NULL;
	return spaces[slot];
}

static int space_read(struct pci_bus *bus, unsigned int devfn, int where,
		      int size, u32 *value)
{
	const u8 *space = space_of(devfn);

	if (!space) {
		PCI_SET_ERROR_RESPONSE(value);
		return PCIBIOS_DEVICE_NOT_FOUND;
	}
	if (size == 1)
		*value = space[where];
	else if (size == 2)
		*value = get_unaligned_le16(space + where);
	else
		*value = get_unaligned_le32(space + where);
	return PCIBIOS_SUCCESSFUL;
}

static bool is_writable(int where)
{
	return where == PCI_COMMAND ||
	       where == CAP_PASID + PCI_PASID_CTRL ||
	       (where >= PASID_BUS_PIECE(0) &&
		where < PASID_BUS_PIECE(PASID_BUS_PIECES));
}

static int space_write(struct pci_bus *bus, unsigned int devfn, int where,
		       int size, u32 value)
{
	u8 *space = space_of(devfn);

	if (!space)
		return PCIBIOS_DEVICE_NOT_FOUND;
	if (!is_writable(where))
		return PCIBIOS_SUCCESSFUL;
	if (size == 1)
		space[where] = value;
	else if (size == 2)
		put_unaligned_le16(value, space + where);
	else
		put_unaligned_le32(value, space + where);
	return PCIBIOS_SUCCESSFUL;
}

static struct pci_ops space_ops = {
	.read = space_read,
	.write = space_write,
};

static void space_init(u8 *space, unsigned int pasid_bits)
{
	u8 *express = space + CAP_EXPRESS;
	u8 *pasid = space + CAP_PASID;

	put_unaligned_le16(PASID_BUS_VENDOR, space + PCI_VENDOR_ID);
	put_unaligned_le16(PASID_BUS_DEVICE, space + PCI_DEVICE_ID);
	put_unaligned_le16(PCI_STATUS_CAP_LIST, space + PCI_STATUS);
	put_unaligned_le16(PCI_CLASS_OTHERS << 8 | 0xff,
			   space + PCI_CLASS_DEVICE);
	space[PCI_CAPABILITY_LIST] = CAP_EXPRESS;

	express[PCI_CAP_LIST_ID] = PCI_CAP_ID_EXP;
	put_unaligned_le16(2 | PCI_EXP_TYPE_RC_END << 4,
			   express + PCI_EXP_FLAGS);
	put_unaligned_le32(PCI_EXP_DEVCAP2_EE_PREFIX,
			   express + PCI_EXP_DEVCAP2);

	put_unaligned_le32(PCI_EXT_CAP_ID_PASID | 1 << 16, pasid);
	put_unaligned_le16(pasid_bits << 8, pasid + PCI_PASID_CAP);
}

static struct pci_sysdata sysdata = {
	.domain = 0,
	.node = NUMA_NO_NODE,
};

/* The instance that serves this segment serves this module's bus, too */
static struct iommu_device *find_iommu(void)
{
	struct iommu_device *found = NULL;
	struct pci_dev *pdev = NULL;

	for_each_pci_dev(pdev)
		if (!pci_domain_nr(pdev->bus) && pdev->dev.iommu &&
		    pdev->dev.iommu->iommu_dev)
			found = pdev->dev.iommu->iommu_dev;
	return found;
}

static int __init pasid_bus_init(void)
{
	LIST_HEAD(resources);

	if (functions < 1 || functions > MAX_FUNCTIONS || bus_number > 0xff ||
	    pci_find_bus(0, bus_number))
		return -EINVAL;
	for (int i = 0; i < functions; i++) {
		if (bits[i] > 20)
			return -EINVAL;
		space_init(spaces[i], bits[i]);
	}
	if (iommu_pasids) {
		iommu = find_iommu();
		if (!iommu)
			return -ENODEV;
		old_pasids = iommu->max_pasids;
		iommu->max_pasids = iommu_pasids;
	}

	pci_lock_rescan_remove();
	root = pci_scan_root_bus(NULL, bus_number, &space_ops, &sysdata,
				 &resources);
	if (root)
		pci_bus_add_devices(root);
	pci_unlock_rescan_remove();
	if (root)
		return 0;

	if (iommu)
		iommu->max_pasids = old_pasids;
	return -ENOMEM;
}
module_init(pasid_bus_init);

static void __exit pasid_bus_exit(void)
{
	pci_lock_rescan_remove();
	pci_stop_root_bus(root);
	pci_remove_root_bus(root);
	pci_unlock_rescan_remove();
	if (iommu)
		iommu->max_pasids = old_pasids;
}
module_exit(pasid_bus_exit);

MODULE_DESCRIPTION("A PCI bus with functions that have PASIDs, for tests");
MODULE_LICENSE("GPL");
