// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests of the groups that PCI devices get
 *
 * The devices are made up, and registered nowhere: each is on its bus's list,
 * and its config space has nothing but an ACS capability. Groups are real.
 * What a device should get is said by a model, which compares every device
 * with every other, for each device anew.
 */
#include <kunit/test.h>
#include <linux/bitfield.h>
#include <linux/bitmap.h>
#include <linux/iommu.h>
#include <linux/pci.h>
#include <linux/prandom.h>
#include <linux/vmalloc.h>

#include "../pci-group.h"

#define MAX_DEVICES	256
#define MAX_BUSES	24
#define DEVFNS		256
/* Keeps the model's recursion short */
#define MAX_ON_BUS	20
#define MAX_IN_TREE	64
#define TREES		300

#define NO_GROUP	-1
#define ACS_POS		0x100
#define ACS_ALL		(PCI_ACS_SV | PCI_ACS_RR | PCI_ACS_CR | PCI_ACS_UF)

struct fake_device {
	struct pci_dev pdev;
	DECLARE_BITMAP(alias_mask, DEVFNS);
	u16 acs_cap, acs_ctrl;
	bool present;
	/* Others need it, so that it is always present. */
	bool stays;
	/* Behind the IOMMU, so that it gets a group */
	bool translated;
	/* The model's group */
	int group;
};

struct fake_bus {
	struct pci_bus bus;
	struct fake_device *at[DEVFNS];
	unsigned int count;
	bool virtual;
#ifdef CONFIG_X86
	struct pci_sysdata sysdata;
#endif
};

struct tree {
	struct rnd_state rnd;
	struct fake_bus bus[MAX_BUSES];
	unsigned int buses;
	struct fake_device dev[MAX_DEVICES];
	unsigned int devices;
	/* Those that are there, in the order in which they were added */
	struct fake_device *order[MAX_DEVICES];
	unsigned int ordered;
	/* What the model's groups are in fact; NULL for an empty group */
	struct iommu_group *group[2 * MAX_DEVICES];
	unsigned int groups, released;
};

/* A config space */

static int fake_read(struct pci_bus *bus, unsigned int devfn, int where,
		     int size, u32 *value)
{
	struct fake_bus *fbus = container_of(bus, struct fake_bus, bus);
	struct fake_device *fdev = fbus->at[devfn];

	switch (where) {
	case ACS_POS + PCI_ACS_CAP:
		*value = fdev->acs_cap;
		return PCIBIOS_SUCCESSFUL;
	case ACS_POS + PCI_ACS_CTRL:
		*value = fdev->acs_ctrl;
		return PCIBIOS_SUCCESSFUL;
	}
	return PCIBIOS_BAD_REGISTER_NUMBER;
}

static struct pci_ops fake_ops = {
	.read = fake_read,
};

/* Trees of devices */

static void free_tree(void *tree)
{
	vfree(tree);
}

static struct tree *make_tree(struct kunit *test)
{
	struct tree *tree = vzalloc(sizeof(*tree));

	KUNIT_ASSERT_NOT_NULL(test, tree);
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, free_tree, tree));
	return tree;
}

static struct fake_bus *add_bus(struct tree *tree, struct fake_bus *parent,
				struct fake_device *bridge)
{
	struct fake_bus *fbus = &tree->bus[tree->buses];

	INIT_LIST_HEAD(&fbus->bus.devices);
	fbus->bus.number = tree->buses++;
	fbus->bus.ops = &fake_ops;
	fbus->bus.parent = parent ? &parent->bus : NULL;
#ifdef CONFIG_X86
	fbus->bus.sysdata = &fbus->sysdata;
#endif
	if (bridge) {
		fbus->bus.self = &bridge->pdev;
		bridge->pdev.subordinate = &fbus->bus;
		bridge->stays = true;
	}
	return fbus;
}

static void fake_release(struct device *dev)
{
}

/* A conventional function; it is not on its bus yet. */
static struct fake_device *add_device(struct tree *tree, struct fake_bus *fbus,
				      unsigned int devfn)
{
	struct fake_device *fdev = &tree->dev[tree->devices++];

	device_initialize(&fdev->pdev.dev);
	fdev->pdev.dev.bus = &pci_bus_type;
	fdev->pdev.dev.release = fake_release;
	fdev->pdev.bus = &fbus->bus;
	fdev->pdev.devfn = devfn;
	fdev->pdev.vendor = 0x1234;
	fdev->translated = true;
	fdev->group = NO_GROUP;
	fbus->at[devfn] = fdev;
	fbus->count++;
	return fdev;
}

static void set_pcie(struct fake_device *fdev, int type)
{
	fdev->pdev.pcie_cap = 0x40;
	fdev->pdev.pcie_flags_reg = FIELD_PREP(PCI_EXP_FLAGS_TYPE, type);
}

static void set_acs(struct fake_device *fdev, u16 cap, u16 ctrl)
{
	fdev->pdev.acs_cap = ACS_POS;
	fdev->acs_cap = cap;
	fdev->acs_ctrl = ctrl;
}

static void set_alias(struct fake_device *fdev, unsigned int devfn)
{
	__set_bit(devfn, fdev->alias_mask);
	fdev->pdev.dma_alias_mask = fdev->alias_mask;
}

static void plug(struct tree *tree, struct fake_device *fdev)
{
	list_add_tail(&fdev->pdev.bus_list, &fdev->pdev.bus->devices);
	fdev->present = true;
	tree->order[tree->ordered++] = fdev;
}

static void plug_all(struct tree *tree)
{
	unsigned int i;

	for (i = 0; i < tree->devices; i++)
		plug(tree, &tree->dev[i]);
}

/* The last device of a group takes the group with it. */
static void leave_group(struct tree *tree, struct fake_device *fdev)
{
	int group = fdev->group;
	unsigned int i;

	iommu_group_put(fdev->pdev.dev.iommu_group);
	fdev->pdev.dev.iommu_group = NULL;
	fdev->group = NO_GROUP;
	if (group == NO_GROUP)
		return;
	for (i = 0; i < tree->devices; i++)
		if (tree->dev[i].group == group)
			return;
	tree->group[group] = NULL;
}

static void unplug(struct tree *tree, struct fake_device *fdev)
{
	unsigned int i;

	leave_group(tree, fdev);
	list_del(&fdev->pdev.bus_list);
	fdev->present = false;
	for (i = 0; tree->order[i] != fdev; i++)
		;
	tree->ordered--;
	memmove(&tree->order[i], &tree->order[i + 1],
		(tree->ordered - i) * sizeof(tree->order[0]));
}

/* All devices go; no reference to them or to a group may be left. */
static void empty_tree(struct kunit *test, struct tree *tree)
{
	unsigned int i, kept = 0;

	for (i = 0; i < tree->devices; i++) {
		struct fake_device *fdev = &tree->dev[i];

		leave_group(tree, fdev);
		kept += kref_read(&fdev->pdev.dev.kobj.kref) != 1;
		put_device(&fdev->pdev.dev);
	}
	KUNIT_EXPECT_EQ(test, kept, 0);
	KUNIT_EXPECT_EQ(test, tree->released, tree->groups);
	memset(tree, 0, sizeof(*tree));
}

/* The model */

static bool model_aliases(struct fake_device *a, struct fake_device *b)
{
	return test_bit(b->pdev.devfn, a->alias_mask) ||
	       test_bit(a->pdev.devfn, b->alias_mask) ||
	       pci_real_dma_dev(&a->pdev) == &b->pdev ||
	       pci_real_dma_dev(&b->pdev) == &a->pdev;
}

static bool model_isolated(struct fake_device *fdev)
{
	return pci_acs_enabled(&fdev->pdev, ACS_ALL);
}

static int model_functions(struct tree *tree, struct fake_device *fdev,
			   unsigned long *seen);

static int model_alias(struct tree *tree, struct fake_device *fdev,
		       unsigned long *seen)
{
	unsigned int i;
	int group;

	if (__test_and_set_bit(fdev->pdev.devfn, seen))
		return NO_GROUP;
	if (fdev->group != NO_GROUP)
		return fdev->group;
	for (i = 0; i < tree->ordered; i++) {
		struct fake_device *other = tree->order[i];

		if (other == fdev || other->pdev.bus != fdev->pdev.bus ||
		    !model_aliases(fdev, other))
			continue;
		group = model_alias(tree, other, seen);
		if (group == NO_GROUP)
			group = model_functions(tree, other, seen);
		if (group != NO_GROUP)
			return group;
	}
	return NO_GROUP;
}

static int model_functions(struct tree *tree, struct fake_device *fdev,
			   unsigned long *seen)
{
	unsigned int i;
	int group;

	if (!fdev->pdev.multifunction || model_isolated(fdev))
		return NO_GROUP;
	for (i = 0; i < tree->ordered; i++) {
		struct fake_device *other = tree->order[i];

		if (other == fdev || other->pdev.bus != fdev->pdev.bus ||
		    PCI_SLOT(other->pdev.devfn) != PCI_SLOT(fdev->pdev.devfn) ||
		    model_isolated(other))
			continue;
		group = model_alias(tree, other, seen);
		if (group != NO_GROUP)
			return group;
	}
	return NO_GROUP;
}

static int model_upstream(struct pci_dev *pdev, u16 alias, void *data)
{
	struct fake_device **fdev = data;

	*fdev = container_of(pdev, struct fake_device, pdev);
	return (*fdev)->group != NO_GROUP;
}

/* The group that a device should join; tree->groups stands for a new one */
static int model_group(struct tree *tree, struct fake_device *fdev)
{
	DECLARE_BITMAP(seen, DEVFNS) = {};
	struct pci_bus *bus;
	int group;

	if (pci_for_each_dma_alias(&fdev->pdev, model_upstream, &fdev))
		return fdev->group;

	for (bus = fdev->pdev.bus; bus->parent; bus = bus->parent) {
		if (!bus->self)
			continue;
		if (pci_acs_path_enabled(bus->self, NULL, ACS_ALL))
			break;
		fdev = container_of(bus->self, struct fake_device, pdev);
		if (fdev->group != NO_GROUP)
			return fdev->group;
	}

	group = model_alias(tree, fdev, seen);
	if (group == NO_GROUP)
		group = model_functions(tree, fdev, seen);
	return group == NO_GROUP ? tree->groups : group;
}

/* Probing */

static void count_release(void *data)
{
	struct tree *tree = data;

	tree->released++;
}

/* Gives a device its group. Return: whether it is a group of this tree. */
static bool join(struct tree *tree, struct fake_device *fdev, int expected)
{
	struct iommu_group *group = pci_device_group(&fdev->pdev.dev);
	unsigned int i;

	if (IS_ERR(group))
		return false;
	fdev->pdev.dev.iommu_group = group;
	for (i = 0; i < tree->groups; i++)
		if (tree->group[i] == group)
			break;
	if (i == tree->groups) {
		tree->group[tree->groups++] = group;
		iommu_group_set_iommudata(group, tree, count_release);
	}
	fdev->group = i;
	return i == expected;
}

/* Return: whether the device gets the group that the model says. */
static bool probe(struct tree *tree, struct fake_device *fdev)
{
	if (!fdev->translated || fdev->group != NO_GROUP)
		return true;
	return join(tree, fdev, model_group(tree, fdev));
}

/* A pass for one device */
static bool probe_alone(struct tree *tree, struct fake_device *fdev)
{
	bool right;

	mutex_lock(&iommu_probe_device_lock);
	right = probe(tree, fdev);
	pci_group_end_pass();
	mutex_unlock(&iommu_probe_device_lock);
	return right;
}

/* A pass for all of them. Return: how many got another group than expected */
static unsigned int probe_all(struct tree *tree)
{
	unsigned int i, wrong = 0;

	mutex_lock(&iommu_probe_device_lock);
	for (i = 0; i < tree->ordered; i++)
		wrong += !probe(tree, tree->order[i]);
	pci_group_end_pass();
	mutex_unlock(&iommu_probe_device_lock);
	return wrong;
}

/* Random trees */

static unsigned int below(struct tree *tree, unsigned int limit)
{
	return prandom_u32_state(&tree->rnd) % limit;
}

static bool percent(struct tree *tree, unsigned int probability)
{
	return below(tree, 100) < probability;
}

static void random_acs(struct tree *tree, struct fake_device *fdev)
{
	switch (below(tree, 4)) {
	case 0:
		break;
	case 1:
		set_acs(fdev, ACS_ALL, ACS_ALL);
		break;
	case 2:
		/* What it cannot do it need not be told to do. */
		set_acs(fdev, PCI_ACS_SV, PCI_ACS_SV);
		break;
	case 3:
		set_acs(fdev, ACS_ALL, below(tree, ACS_ALL + 1));
		break;
	}
	/* Isolated by a quirk, whatever the capability says */
	if (percent(tree, 5)) {
		fdev->pdev.vendor = PCI_VENDOR_ID_SOLARFLARE;
		fdev->pdev.device = 0x0903;
	}
}

static void random_bridge(struct tree *tree, struct fake_bus *fbus,
			  struct fake_device *fdev)
{
	static const int types[] = {
		PCI_EXP_TYPE_ROOT_PORT, PCI_EXP_TYPE_ROOT_PORT,
		PCI_EXP_TYPE_UPSTREAM, PCI_EXP_TYPE_DOWNSTREAM,
		PCI_EXP_TYPE_PCI_BRIDGE, PCI_EXP_TYPE_PCIE_BRIDGE,
	};
	struct fake_bus *behind;

	if (percent(tree, 80))
		set_pcie(fdev, types[below(tree, ARRAY_SIZE(types))]);
	else if (percent(tree, 30))
		fdev->pdev.dev_flags |= PCI_DEV_FLAG_PCIE_BRIDGE_ALIAS;
	if (percent(tree, 5))
		fdev->pdev.dev_flags |= PCI_DEV_FLAGS_BRIDGE_XLATE_ROOT;
	behind = add_bus(tree, fbus, fdev);
	if (percent(tree, 15) && tree->buses < MAX_BUSES)
		add_bus(tree, behind, NULL)->virtual = true;
}

static void random_function(struct tree *tree, struct fake_bus *fbus,
			    unsigned int devfn, bool multifunction)
{
	static const int types[] = {
		PCI_EXP_TYPE_ENDPOINT, PCI_EXP_TYPE_ENDPOINT,
		PCI_EXP_TYPE_LEG_END, PCI_EXP_TYPE_RC_END, PCI_EXP_TYPE_RC_EC,
	};
	struct fake_device *fdev = add_device(tree, fbus, devfn);

	fdev->pdev.multifunction = multifunction;
	if (!fbus->virtual && tree->buses < MAX_BUSES && percent(tree, 25))
		random_bridge(tree, fbus, fdev);
	else if (percent(tree, 70))
		set_pcie(fdev, types[below(tree, ARRAY_SIZE(types))]);
	random_acs(tree, fdev);
	fdev->translated = percent(tree, 92);
}

static bool has_room(struct tree *tree, struct fake_bus *fbus)
{
	return fbus->count < MAX_ON_BUS && tree->devices < MAX_IN_TREE;
}

static void random_slot(struct tree *tree, struct fake_bus *fbus,
			unsigned int slot)
{
	bool multifunction = percent(tree, 50);
	unsigned int function;

	for (function = 0; function < 8 && has_room(tree, fbus); function++) {
		unsigned int devfn = PCI_DEVFN(slot, function);

		/* Some forget to say so, which makes for one-way relations */
		if (!fbus->at[devfn])
			random_function(tree, fbus, devfn,
					multifunction && percent(tree, 90));
		if (!multifunction || percent(tree, 30))
			break;
	}
}

/* Mostly existing functions, sometimes phantoms */
static void random_aliases(struct tree *tree, unsigned int probability)
{
	unsigned int i, n;

	for (i = 0; i < tree->devices; i++) {
		struct fake_device *fdev = &tree->dev[i];

		if (!percent(tree, probability))
			continue;
		for (n = below(tree, 3) + 1; n; n--) {
			unsigned int other = below(tree, tree->devices);

			if (percent(tree, 80))
				set_alias(fdev, tree->dev[other].pdev.devfn);
			else
				set_alias(fdev, below(tree, DEVFNS));
		}
	}
}

#if defined(CONFIG_X86) && IS_ENABLED(CONFIG_VMD)
/* All of a bus uses the requester ID of one device, here or elsewhere. */
static void random_vmd(struct tree *tree)
{
	struct fake_bus *fbus = &tree->bus[below(tree, tree->buses)];
	struct fake_device *vmd = &tree->dev[below(tree, tree->devices)];

	fbus->sysdata.vmd_dev = &vmd->pdev;
	vmd->stays = true;
}
#else
static void random_vmd(struct tree *tree) { }
#endif

static void shuffle(struct tree *tree, struct fake_device **devices,
		    unsigned int count)
{
	for (; count > 1; count--) {
		unsigned int other = below(tree, count);

		swap(devices[count - 1], devices[other]);
	}
}

/* Some are to be added later. */
static void random_plug(struct tree *tree)
{
	struct fake_device *todo[MAX_IN_TREE];
	unsigned int i;

	for (i = 0; i < tree->devices; i++)
		todo[i] = &tree->dev[i];
	if (percent(tree, 30))
		shuffle(tree, todo, tree->devices);
	for (i = 0; i < tree->devices; i++)
		if (todo[i]->stays || percent(tree, 85))
			plug(tree, todo[i]);
}

static void random_tree(struct tree *tree, u64 seed)
{
	unsigned int i, n;

	prandom_seed_state(&tree->rnd, seed);
	for (n = 1 + below(tree, 2); n; n--)
		add_bus(tree, NULL, NULL);
	/* More buses come with their bridges. */
	for (i = 0; i < tree->buses; i++)
		for (n = 1 + below(tree, 6); n; n--)
			random_slot(tree, &tree->bus[i], below(tree, 32));
	random_aliases(tree, below(tree, 3) * 15);
	if (percent(tree, 15))
		random_vmd(tree);
	random_plug(tree);
}

/* A device comes, in a pass of its own or in the middle of another, or goes */
static unsigned int random_event(struct tree *tree)
{
	struct fake_device *fdev = &tree->dev[below(tree, tree->devices)];
	struct fake_device *other = &tree->dev[below(tree, tree->devices)];
	unsigned int wrong = 0;

	if (fdev->stays)
		return 0;
	if (fdev->present) {
		unplug(tree, fdev);
		return 0;
	}
	if (percent(tree, 50)) {
		plug(tree, fdev);
		return !probe_alone(tree, fdev);
	}

	mutex_lock(&iommu_probe_device_lock);
	if (other->present && other != fdev) {
		leave_group(tree, other);
		wrong += !probe(tree, other);
	}
	plug(tree, fdev);
	wrong += !probe(tree, fdev);
	pci_group_end_pass();
	mutex_unlock(&iommu_probe_device_lock);
	return wrong;
}

static void pci_group_test_random_trees(struct kunit *test)
{
	struct tree *tree = make_tree(test);
	unsigned int devices = 0, groups = 0, shared = 0, grouped, seed, i;

	for (seed = 1; seed <= TREES; seed++) {
		random_tree(tree, seed);
		KUNIT_EXPECT_EQ_MSG(test, probe_all(tree), 0, "tree %u, boot",
				    seed);
		grouped = 0;
		for (i = 0; i < tree->ordered; i++)
			grouped += tree->order[i]->group != NO_GROUP;
		devices += grouped;
		groups += tree->groups;
		shared += tree->groups > 1 && tree->groups < grouped;

		for (i = 0; i < tree->devices; i++)
			KUNIT_EXPECT_EQ_MSG(test, random_event(tree), 0,
					    "tree %u, event %u", seed, i);
		empty_tree(test, tree);
	}

	kunit_info(test, "%u trees, %u devices in %u groups", TREES, devices,
		   groups);
	/* Trees of lone devices, or of one group, would show nothing. */
	KUNIT_EXPECT_GT(test, shared, TREES * 3 / 4);
	KUNIT_EXPECT_GT(test, groups * 4, devices);
}

/* Each device of a full bus is an alias of the one before it. */
static void pci_group_test_alias_chain(struct kunit *test)
{
	struct tree *tree = make_tree(test);
	struct fake_bus *fbus = add_bus(tree, NULL, NULL);
	struct fake_device *first, *last;
	unsigned int i, wrong = 0;

	for (i = 0; i < MAX_DEVICES; i++) {
		struct fake_device *fdev = add_device(tree, fbus, i);

		set_pcie(fdev, PCI_EXP_TYPE_RC_END);
		set_acs(fdev, ACS_ALL, ACS_ALL);
		fdev->pdev.multifunction = true;
		if (i)
			set_alias(fdev, i - 1);
	}
	first = &tree->dev[0];
	last = &tree->dev[MAX_DEVICES - 1];
	plug_all(tree);

	/* Through the whole chain in vain, and then to its other end */
	mutex_lock(&iommu_probe_device_lock);
	KUNIT_EXPECT_TRUE(test, join(tree, last, 0));
	KUNIT_EXPECT_TRUE(test, join(tree, first, 0));
	for (i = 1; i < MAX_DEVICES - 1; i++)
		wrong += !join(tree, &tree->dev[i], 0);
	pci_group_end_pass();
	mutex_unlock(&iommu_probe_device_lock);

	KUNIT_EXPECT_EQ(test, wrong, 0);
	KUNIT_EXPECT_EQ(test, tree->groups, 1);
	empty_tree(test, tree);
}

/* Everything is related to everything: more relations than devices */
static void pci_group_test_all_aliases(struct kunit *test)
{
	struct tree *tree = make_tree(test);
	struct fake_bus *fbus = add_bus(tree, NULL, NULL);
	unsigned int i, wrong = 0;

	for (i = 0; i < MAX_DEVICES; i++) {
		struct fake_device *fdev = add_device(tree, fbus, i);

		bitmap_fill(fdev->alias_mask, DEVFNS);
		fdev->pdev.dma_alias_mask = fdev->alias_mask;
		fdev->pdev.multifunction = true;
	}
	plug_all(tree);

	mutex_lock(&iommu_probe_device_lock);
	for (i = MAX_DEVICES; i-- > 0;)
		wrong += !join(tree, &tree->dev[i], 0);
	pci_group_end_pass();
	mutex_unlock(&iommu_probe_device_lock);

	KUNIT_EXPECT_EQ(test, wrong, 0);
	empty_tree(test, tree);
}

static void expect_regrouped(struct kunit *test, struct tree *tree,
			     struct fake_device *fdev,
			     struct fake_device *with)
{
	leave_group(tree, fdev);
	KUNIT_EXPECT_TRUE(test, probe_alone(tree, fdev));
	KUNIT_EXPECT_PTR_EQ(test, fdev->pdev.dev.iommu_group,
			    with->pdev.dev.iommu_group);
}

/* Several groups can be reached; which one it is depends on the order. */
static void pci_group_test_order(struct kunit *test)
{
	struct tree *tree = make_tree(test);
	struct fake_bus *fbus = add_bus(tree, NULL, NULL);
	struct fake_device *slotmate = add_device(tree, fbus, PCI_DEVFN(1, 0));
	struct fake_device *fdev = add_device(tree, fbus, PCI_DEVFN(1, 1));
	struct fake_device *behind = add_device(tree, fbus, PCI_DEVFN(3, 0));
	struct fake_device *second = add_device(tree, fbus, PCI_DEVFN(3, 1));
	struct fake_device *first = add_device(tree, fbus, PCI_DEVFN(5, 0));

	fdev->pdev.multifunction = true;
	second->pdev.multifunction = true;
	set_alias(fdev, first->pdev.devfn);
	set_alias(second, fdev->pdev.devfn);
	plug(tree, slotmate);
	plug(tree, first);
	plug(tree, behind);
	KUNIT_EXPECT_EQ(test, probe_all(tree), 0);
	KUNIT_EXPECT_EQ(test, tree->groups, 3);
	second->translated = false;
	plug(tree, second);
	plug(tree, fdev);

	/* Aliases in the order of the bus, then the slot */
	expect_regrouped(test, tree, fdev, first);
	unplug(tree, first);
	expect_regrouped(test, tree, fdev, slotmate);
	/* An alias leads to the functions of its slot */
	fdev->pdev.multifunction = false;
	expect_regrouped(test, tree, fdev, behind);
	plug(tree, first);
	KUNIT_EXPECT_TRUE(test, probe_alone(tree, first));
	KUNIT_EXPECT_PTR_EQ(test, first->pdev.dev.iommu_group,
			    behind->pdev.dev.iommu_group);
	empty_tree(test, tree);
}

/* What one pass has seen means nothing to the next one. */
static void pci_group_test_between_passes(struct kunit *test)
{
	struct tree *tree = make_tree(test);
	struct fake_bus *fbus = add_bus(tree, NULL, NULL);
	struct fake_device *first = add_device(tree, fbus, PCI_DEVFN(2, 0));
	struct fake_device *lone = add_device(tree, fbus, PCI_DEVFN(4, 0));
	struct fake_device *link = add_device(tree, fbus, PCI_DEVFN(2, 1));
	struct fake_device *late = add_device(tree, fbus, PCI_DEVFN(6, 0));

	first->pdev.multifunction = true;
	link->pdev.multifunction = true;
	link->translated = false;
	set_alias(link, late->pdev.devfn);
	plug(tree, first);
	plug(tree, lone);
	KUNIT_EXPECT_EQ(test, probe_all(tree), 0);
	KUNIT_EXPECT_EQ(test, tree->groups, 2);

	/* Related to the first by a device that appeared after the pass */
	plug(tree, link);
	plug(tree, late);
	KUNIT_EXPECT_TRUE(test, probe_alone(tree, late));
	KUNIT_EXPECT_PTR_EQ(test, late->pdev.dev.iommu_group,
			    first->pdev.dev.iommu_group);

	/* And no longer, when that one is gone */
	unplug(tree, link);
	leave_group(tree, late);
	KUNIT_EXPECT_TRUE(test, probe_alone(tree, late));
	KUNIT_EXPECT_PTR_NE(test, late->pdev.dev.iommu_group,
			    first->pdev.dev.iommu_group);
	empty_tree(test, tree);
}

/* Changes during a pass: the bus is looked at again, nothing is used freed. */
static void pci_group_test_within_a_pass(struct kunit *test)
{
	struct tree *tree = make_tree(test);
	struct fake_bus *fbus = add_bus(tree, NULL, NULL);
	struct fake_device *first = add_device(tree, fbus, PCI_DEVFN(2, 0));
	struct fake_device *late = add_device(tree, fbus, PCI_DEVFN(2, 1));
	struct fake_device *old = add_device(tree, fbus, PCI_DEVFN(4, 0));
	struct fake_device *new = add_device(tree, fbus, PCI_DEVFN(4, 0));
	struct fake_device *nowhere = add_device(tree, fbus, PCI_DEVFN(2, 2));

	first->pdev.multifunction = true;
	late->pdev.multifunction = true;
	nowhere->pdev.multifunction = true;
	set_alias(new, first->pdev.devfn);
	plug(tree, first);
	plug(tree, old);

	mutex_lock(&iommu_probe_device_lock);
	KUNIT_EXPECT_TRUE(test, probe(tree, first));
	KUNIT_EXPECT_TRUE(test, probe(tree, old));
	KUNIT_EXPECT_EQ(test, tree->groups, 2);
	KUNIT_EXPECT_EQ(test, kref_read(&old->pdev.dev.kobj.kref), 2);

	plug(tree, late);
	KUNIT_EXPECT_TRUE(test, probe(tree, late));
	KUNIT_EXPECT_PTR_EQ(test, late->pdev.dev.iommu_group,
			    first->pdev.dev.iommu_group);

	/* In the same place, but not the same device */
	unplug(tree, old);
	KUNIT_EXPECT_EQ(test, kref_read(&old->pdev.dev.kobj.kref), 2);
	plug(tree, new);
	KUNIT_EXPECT_TRUE(test, probe(tree, new));
	KUNIT_EXPECT_EQ(test, kref_read(&old->pdev.dev.kobj.kref), 1);
	KUNIT_EXPECT_PTR_EQ(test, new->pdev.dev.iommu_group,
			    first->pdev.dev.iommu_group);

	/* A device that is on its way out has its relations all the same. */
	KUNIT_EXPECT_TRUE(test, probe(tree, nowhere));
	KUNIT_EXPECT_PTR_EQ(test, nowhere->pdev.dev.iommu_group,
			    first->pdev.dev.iommu_group);
	pci_group_end_pass();
	mutex_unlock(&iommu_probe_device_lock);
	empty_tree(test, tree);
}

/* Functions looked at in one pass over a bus of eight-function devices */
static unsigned long visits_of_pass(struct kunit *test, struct tree *tree,
				    unsigned int functions)
{
	struct fake_bus *fbus = add_bus(tree, NULL, NULL);
	unsigned long visits;
	unsigned int i;

	for (i = 0; i < functions; i++)
		add_device(tree, fbus, i)->pdev.multifunction = true;
	plug_all(tree);
	visits = pci_group_visits;
	KUNIT_EXPECT_EQ(test, probe_all(tree), 0);
	visits = pci_group_visits - visits;
	KUNIT_EXPECT_EQ(test, tree->groups, functions / 8);
	empty_tree(test, tree);
	return visits;
}

/* Visits per device at 32 and at 208 functions differ by at most 10 %. */
static void pci_group_test_visits_are_linear(struct kunit *test)
{
	struct tree *tree = make_tree(test);
	unsigned long few = visits_of_pass(test, tree, 32);
	unsigned long many = visits_of_pass(test, tree, 208);

	kunit_info(test, "%lu visits for 32 functions, %lu for 208", few, many);
	KUNIT_EXPECT_GE(test, few, 32);
	KUNIT_EXPECT_LE(test, many * 32 * 10, few * 208 * 11);
	KUNIT_EXPECT_LE(test, few * 208 * 10, many * 32 * 11);
}

/* A pass looks at each bus once, and only at buses that it needs. */
static void pci_group_test_one_look_at_a_bus(struct kunit *test)
{
	struct tree *tree = make_tree(test);
	struct fake_bus *root = add_bus(tree, NULL, NULL);
	struct fake_bus *other = add_bus(tree, NULL, NULL);
	struct fake_device *port = add_device(tree, root, PCI_DEVFN(0, 0));
	struct fake_bus *behind = add_bus(tree, root, port);
	unsigned long visits;
	unsigned int slot;

	/* Everything behind a port without ACS is grouped on the port's bus */
	set_pcie(port, PCI_EXP_TYPE_ROOT_PORT);
	for (slot = 1; slot < 32; slot++) {
		add_device(tree, root, PCI_DEVFN(slot, 0));
		add_device(tree, behind, PCI_DEVFN(slot, 0));
		add_device(tree, other, PCI_DEVFN(slot, 0))->translated = false;
	}
	plug_all(tree);

	visits = pci_group_visits;
	KUNIT_EXPECT_EQ(test, probe_all(tree), 0);
	visits = pci_group_visits - visits;
	KUNIT_EXPECT_EQ(test, tree->groups, 32);
	/* Each when its bus is looked at, and when it is searched for */
	KUNIT_EXPECT_EQ(test, visits, 2 * 32);
	empty_tree(test, tree);
}

static struct kunit_case pci_group_test_cases[] = {
	KUNIT_CASE(pci_group_test_random_trees),
	KUNIT_CASE(pci_group_test_alias_chain),
	KUNIT_CASE(pci_group_test_all_aliases),
	KUNIT_CASE(pci_group_test_order),
	KUNIT_CASE(pci_group_test_between_passes),
	KUNIT_CASE(pci_group_test_within_a_pass),
	KUNIT_CASE(pci_group_test_visits_are_linear),
	KUNIT_CASE(pci_group_test_one_look_at_a_bus),
	{}
};

static struct kunit_suite pci_group_test_suite = {
	.name = "iommu_pci_group",
	.test_cases = pci_group_test_cases,
};

kunit_test_suite(pci_group_test_suite);
