// SPDX-License-Identifier: GPL-2.0-only
/*
 * Which functions of a PCI bus have to share an IOMMU group
 *
 * Functions that use each other's requester ID, and functions of one slot that
 * ACS does not isolate, cannot be told apart by an IOMMU. Such relations never
 * leave a bus, so the devices of a bus are collected once, and every search
 * only follows the relations.
 *
 * What was collected is kept for one pass: the probe of a whole bus of the
 * driver core, or of one device. A pass never lets go of
 * iommu_probe_device_lock, which guards everything here, so that no device gets
 * a group unseen. One that is removed meanwhile is kept until the pass ends; it
 * has no group any more, and can at most bring others together.
 */
#include <linux/bitmap.h>
#include <linux/err.h>
#include <linux/hashtable.h>
#include <linux/iommu.h>
#include <linux/overflow.h>
#include <linux/pci.h>
#include <linux/slab.h>

#include "pci-group.h"

#define BUS_DEVFNS	(PCI_DEVFN(0x1f, 7) + 1)
/* One more for a device that is searched for and not on its bus */
#define BUS_FUNCS	(BUS_DEVFNS + 1)

enum pci_group_isolation {
	NOT_ASKED,
	ISOLATED,
	NOT_ISOLATED,
};

/* A function, on a bus whose functions are in the order they were added in */
struct pci_group_func {
	struct pci_dev *pdev;
	/* Positions of the functions that it aliases, or that alias it */
	DECLARE_BITMAP(aliases, BUS_FUNCS);
	/* The following function of the same slot */
	struct pci_group_func *next_in_slot;
	enum pci_group_isolation isolation;

	/* The last search that came here, and what it looks at next */
	unsigned long search;
	unsigned int alias;
	struct pci_group_func *slotmate;
};

struct pci_group_bus {
	struct hlist_node node;
	struct pci_bus *bus;
	unsigned long search;
	struct pci_group_func *slots[PCI_SLOT(BUS_DEVFNS - 1) + 1];
	/* Position of a function plus 1, 0 if there is none */
	u16 positions[BUS_DEVFNS];
	unsigned int count;
	struct pci_group_func funcs[] __counted_by(count);
};

/* What a search has not finished: the functions of a slot, or the aliases */
struct pci_group_step {
	u16 position;
	bool slotmates;
};

/* The buses that this pass has seen */
static DEFINE_HASHTABLE(pci_group_buses, 6);

unsigned long pci_group_visits;

static struct pci_group_func *pci_group_func_at(struct pci_group_bus *gbus,
						unsigned int devfn)
{
	u16 position = gbus->positions[devfn % BUS_DEVFNS];

	return position ? &gbus->funcs[position - 1] : NULL;
}

static void pci_group_add_alias(struct pci_group_bus *gbus,
				struct pci_group_func *func, unsigned int devfn)
{
	struct pci_group_func *other = pci_group_func_at(gbus, devfn);

	if (!other || other == func)
		return;
	__set_bit(other - gbus->funcs, func->aliases);
	__set_bit(func - gbus->funcs, other->aliases);
}

/* Aliases count in both directions, so all functions have to be there. */
static void pci_group_add_aliases(struct pci_group_bus *gbus,
				  struct pci_group_func *func)
{
	struct pci_dev *pdev = func->pdev;
	struct pci_dev *real = pci_real_dma_dev(pdev);
	unsigned int devfn;

	if (pdev->dma_alias_mask)
		for_each_set_bit(devfn, pdev->dma_alias_mask, BUS_DEVFNS)
			pci_group_add_alias(gbus, func, devfn);
	if (real->bus == pdev->bus)
		pci_group_add_alias(gbus, func, real->devfn);
}

static void pci_group_bus_fill(struct pci_group_bus *gbus,
			       struct pci_dev **devs, unsigned int count)
{
	unsigned int i;

	gbus->count = count;
	for (i = 0; i < count; i++) {
		gbus->funcs[i].pdev = devs[i];
		gbus->positions[devs[i]->devfn % BUS_DEVFNS] = i + 1;
	}
	for (i = count; i-- > 0;) {
		struct pci_group_func *func = &gbus->funcs[i];
		unsigned int slot = PCI_SLOT(devs[i]->devfn);

		func->next_in_slot = gbus->slots[slot];
		gbus->slots[slot] = func;
		pci_group_add_aliases(gbus, func);
	}
}

static void pci_group_put_devices(struct pci_dev **devs, unsigned int count)
{
	while (count--)
		pci_dev_put(devs[count]);
}

/* Collect the devices of a bus, and @pdev even if it is not among them. */
static struct pci_group_bus *pci_group_bus_new(struct pci_dev *pdev)
{
	struct pci_group_bus *gbus;
	struct pci_dev **devs;
	unsigned int count, i;

	devs = kmalloc_array(BUS_FUNCS, sizeof(*devs), GFP_KERNEL);
	if (!devs)
		return NULL;

	count = pci_bus_get_devices(pdev->bus, devs, BUS_DEVFNS);
	pci_group_visits += count;
	for (i = 0; i < count && devs[i] != pdev; i++)
		;
	if (i == count)
		devs[count++] = pci_dev_get(pdev);

	gbus = kvzalloc(struct_size(gbus, funcs, count), GFP_KERNEL);
	if (!gbus) {
		pci_group_put_devices(devs, count);
		goto out_free;
	}
	/* The devices keep their bus. */
	gbus->bus = pdev->bus;
	pci_group_bus_fill(gbus, devs, count);
	hash_add(pci_group_buses, &gbus->node, (unsigned long)gbus->bus);

out_free:
	kfree(devs);
	return gbus;
}

static void pci_group_bus_free(struct pci_group_bus *gbus)
{
	unsigned int i;

	hash_del(&gbus->node);
	for (i = 0; i < gbus->count; i++)
		pci_dev_put(gbus->funcs[i].pdev);
	kvfree(gbus);
}

static struct pci_group_bus *pci_group_bus_get(struct pci_dev *pdev)
{
	struct pci_group_bus *gbus;
	struct pci_group_func *func;

	hash_for_each_possible(pci_group_buses, gbus, node,
			       (unsigned long)pdev->bus) {
		if (gbus->bus != pdev->bus)
			continue;
		func = pci_group_func_at(gbus, pdev->devfn);
		if (func && func->pdev == pdev)
			return gbus;
		/* It was added after this pass began. */
		pci_group_bus_free(gbus);
		break;
	}
	return pci_group_bus_new(pdev);
}

static bool pci_group_isolated(struct pci_group_func *func)
{
	if (func->isolation == NOT_ASKED)
		func->isolation = pci_acs_enabled(func->pdev, REQ_ACS_FLAGS) ?
				  ISOLATED : NOT_ISOLATED;
	return func->isolation == ISOLATED;
}

/*
 * For multifunction devices which are not isolated from each other, the other
 * non-isolated functions of the slot.
 */
static struct pci_group_func *
pci_group_next_slotmate(struct pci_group_func *func)
{
	struct pci_group_func *mate;

	if (!func->pdev->multifunction || pci_group_isolated(func))
		return NULL;

	while ((mate = func->slotmate)) {
		func->slotmate = mate->next_in_slot;
		pci_group_visits++;
		if (mate != func && !pci_group_isolated(mate))
			return mate;
	}
	return NULL;
}

static struct pci_group_func *pci_group_next_alias(struct pci_group_bus *gbus,
						   struct pci_group_func *func)
{
	unsigned int position = find_next_bit(func->aliases, gbus->count,
					      func->alias);

	if (position >= gbus->count)
		return NULL;
	func->alias = position + 1;
	pci_group_visits++;
	return &gbus->funcs[position];
}

/* Whether the current search comes to @func for the first time */
static bool pci_group_visit(struct pci_group_bus *gbus,
			    struct pci_group_func *func)
{
	if (func->search == gbus->search)
		return false;
	func->search = gbus->search;
	func->alias = 0;
	func->slotmate = gbus->slots[PCI_SLOT(func->pdev->devfn)];
	return true;
}

/*
 * Depth first, with a stack of its own: a chain of aliases can be as long as
 * the bus. The order decides which group is found when there are several: the
 * aliases of a function, each with what it leads to and then with the
 * functions of its slot, before the functions of the slot.
 */
static struct iommu_group *pci_group_search(struct pci_group_bus *gbus,
					    struct pci_group_func *func)
{
	/*
	 * The aliases of a function are on it at most once, each with at most
	 * one slot above; and one slot is below all.
	 */
	static struct pci_group_step stack[2 * BUS_FUNCS + 1];
	struct iommu_group *group;
	unsigned int depth = 0;

	lockdep_assert_held(&iommu_probe_device_lock);

	gbus->search++;
	pci_group_visits++;
	stack[depth++] = (struct pci_group_step) {
		func - gbus->funcs, .slotmates = true
	};
	do {
		struct pci_group_func *from;

		if (func && pci_group_visit(gbus, func)) {
			group = iommu_group_get(&func->pdev->dev);
			if (group)
				return group;
			stack[depth++] = (struct pci_group_step) {
				func - gbus->funcs
			};
		}

		from = &gbus->funcs[stack[depth - 1].position];
		if (stack[depth - 1].slotmates) {
			func = pci_group_next_slotmate(from);
			if (!func)
				depth--;
			continue;
		}
		func = pci_group_next_alias(gbus, from);
		if (func)
			stack[depth++] = (struct pci_group_step) {
				func - gbus->funcs, .slotmates = true
			};
		else
			depth--;
	} while (depth);

	return NULL;
}

/**
 * pci_group_of_inseparable - find the group of what a PCI device cannot be
 *	told apart from
 * @pdev: the device, which need not have a group
 *
 * Looks at @pdev, at the devices that alias it or are aliased by it, and at
 * the functions of its slot if it is not isolated from them. What has no group
 * is followed to its own aliases and functions.
 *
 * Context: iommu_probe_device_lock is held. It must not be released before
 *	pci_group_end_pass() was called.
 * Return: a group with a reference for the caller, NULL if none of the devices
 *	has one, or ERR_PTR(-ENOMEM).
 */
struct iommu_group *pci_group_of_inseparable(struct pci_dev *pdev)
{
	struct pci_group_bus *gbus;

	lockdep_assert_held(&iommu_probe_device_lock);

	gbus = pci_group_bus_get(pdev);
	if (!gbus)
		return ERR_PTR(-ENOMEM);
	return pci_group_search(gbus, pci_group_func_at(gbus, pdev->devfn));
}

/**
 * pci_group_end_pass - forget the devices of all buses
 *
 * Ends the time in which no bus is looked at twice.
 *
 * Context: iommu_probe_device_lock is held.
 */
void pci_group_end_pass(void)
{
	struct pci_group_bus *gbus;
	struct hlist_node *next;
	int bucket;

	lockdep_assert_held(&iommu_probe_device_lock);

	hash_for_each_safe(pci_group_buses, bucket, next, gbus, node)
		pci_group_bus_free(gbus);
}
