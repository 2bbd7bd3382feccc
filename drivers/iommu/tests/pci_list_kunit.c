// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of the lists of PCI devices given to pci=iommu_passthrough= and
 * pci=iommu_translated=
 *
 * The devices are made up: buses and bridges as the matching functions see
 * them, not registered anywhere.
 */
#include <kunit/test.h>
#include <linux/pci.h>
#include <linux/prandom.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "../../pci/iommu-wish.h"
#include "../../pci/pci.h"

#define LINE_SIZE	((size_t)32)

/* What a made-up machine consists of; the indices of struct machine.dev */
enum {
	HOST_BRIDGE,	/* 00:00.0 */
	ROOT_PORT,	/* 00:1c.0 */
	UPSTREAM,	/* 01:00.0 */
	DOWNSTREAM,	/* 02:03.0 */
	DISK,		/* 05:00.1 */
	DISK_FUNCTION,	/* 06:10.0, virtual function of the disk */
	OTHER_DOMAIN,	/* 10000:05:00.1 */
	DEVICES,
};

struct machine {
	struct pci_bus bus[DEVICES];
	struct pci_dev dev[DEVICES];
#ifdef CONFIG_X86
	struct pci_sysdata sysdata[DEVICES];
#endif
};

static const struct {
	u32 domain;
	u8 bus;
	u8 devfn;
	int bridge;	/* device whose secondary bus it is on */
	u32 class;
	u16 vendor, device, subvendor, subdevice;
} described[DEVICES] = {
	[HOST_BRIDGE] = { 0, 0x00, PCI_DEVFN(0x00, 0), -1, 0x060000,
			  0x8086, 0x29c0, 0x1af4, 0x1100 },
	[ROOT_PORT] = { 0, 0x00, PCI_DEVFN(0x1c, 0), -1, 0x060400,
			0x1b36, 0x000c, 0x0000, 0x0000 },
	[UPSTREAM] = { 0, 0x01, PCI_DEVFN(0x00, 0), ROOT_PORT, 0x060400,
		       0x104c, 0x8232, 0x0000, 0x0000 },
	[DOWNSTREAM] = { 0, 0x02, PCI_DEVFN(0x03, 0), UPSTREAM, 0x060400,
			 0x104c, 0x8233, 0x0000, 0x0000 },
	[DISK] = { 0, 0x05, PCI_DEVFN(0x00, 1), DOWNSTREAM, 0x010802,
		   0x144d, 0xa808, 0x144d, 0xa801 },
	[DISK_FUNCTION] = { 0, 0x06, PCI_DEVFN(0x10, 0), DISK, 0x010802,
			    0x144d, 0xa824, 0x144d, 0xa802 },
	[OTHER_DOMAIN] = { 0x10000, 0x05, PCI_DEVFN(0x00, 1), -1, 0x010801,
			   0x144d, 0xa808, 0x1028, 0x0001 },
};

static void __init set_domain(struct machine *machine, int i, u32 domain)
{
#if defined(CONFIG_X86)
	machine->sysdata[i].domain = domain;
	machine->bus[i].sysdata = &machine->sysdata[i];
#elif defined(CONFIG_PCI_DOMAINS_GENERIC)
	machine->bus[i].domain_nr = domain;
#endif
}

/* Each device has a bus structure of its own, which is enough for matching. */
static struct machine * __init make_machine(struct kunit *test)
{
	struct machine *machine = kunit_kzalloc(test, sizeof(*machine),
						GFP_KERNEL);
	int i;

	KUNIT_ASSERT_NOT_NULL(test, machine);
	for (i = 0; i < DEVICES; i++) {
		struct pci_bus *bus = &machine->bus[i];
		struct pci_dev *dev = &machine->dev[i];
		int bridge = described[i].bridge;

		bus->number = described[i].bus;
		set_domain(machine, i, described[i].domain);
		if (bridge >= 0) {
			bus->parent = &machine->bus[bridge];
			bus->self = &machine->dev[bridge];
		}
		dev->bus = bus;
		dev->devfn = described[i].devfn;
		dev->class = described[i].class;
		dev->vendor = described[i].vendor;
		dev->device = described[i].device;
		dev->subsystem_vendor = described[i].subvendor;
		dev->subsystem_device = described[i].subdevice;
	}

	/* A virtual function can be on a bus that belongs to no bridge. */
	machine->dev[DISK_FUNCTION].bus->self = NULL;
#ifdef CONFIG_PCI_IOV
	machine->dev[DISK_FUNCTION].is_virtfn = 1;
	machine->dev[DISK_FUNCTION].physfn = &machine->dev[DISK];
#endif
	return machine;
}

static void __init list_init(struct pci_iommu_wish_list *list)
{
	*list = (struct pci_iommu_wish_list) {
		.option = "kunit_list",
	};
}

static void __init free_list(void *entries)
{
	kfree(entries);
}

/* Parses a list that goes away with the test. */
static void __init make_list(struct kunit *test,
			     struct pci_iommu_wish_list *list, const char *value)
{
	list_init(list);
	KUNIT_ASSERT_EQ(test, 0, pci_iommu_wish_add(list, value, false));
	KUNIT_ASSERT_EQ(test, 0, kunit_add_action_or_reset(test, free_list,
							   list->entries));
}

static bool __init entry_names(const struct pci_iommu_wish_entry *entry,
			       struct pci_dev *dev)
{
	struct pci_iommu_wish_list list = {
		.entries = (struct pci_iommu_wish_entry *)entry,
		.count = 1,
	};
	struct pci_iommu_wish_list none = {};

	dev->dev.iommu_passthrough = false;
	pci_iommu_wish_apply(dev, &list, &none);
	return dev->dev.iommu_passthrough;
}

/* Good entries, and the devices of the machine that they name */
static const struct {
	const char *text;
	unsigned long devices;
} good_entries[] = {
	/* Addresses */
	{ "00:00.0", BIT(HOST_BRIDGE) },
	{ "0:0.0", BIT(HOST_BRIDGE) },
	{ "0000:00:00.0", BIT(HOST_BRIDGE) },
	{ "00:1c.0", BIT(ROOT_PORT) },
	{ "00:1C.0", BIT(ROOT_PORT) },
	{ "01:00.0", BIT(UPSTREAM) },
	{ "05:00.1", BIT(DISK) },
	{ "0:05:00.1", BIT(DISK) },
	{ "0000:05:00.1", BIT(DISK) },
	{ "000005:0000.001", BIT(DISK) },
	{ "06:10.0", BIT(DISK_FUNCTION) },
	{ "10000:05:00.1", BIT(OTHER_DOMAIN) },
	{ "00010000:05:00.1", BIT(OTHER_DOMAIN) },
	{ "05:00.0", 0 },
	{ "05:01.1", 0 },
	{ "04:00.1", 0 },
	{ "1:05:00.1", 0 },
	{ "ff:1f.7", 0 },
	{ "7fffffff:ff:1f.7", 0 },
	/* Paths */
	{ "00:1c.0/00.0", BIT(UPSTREAM) },
	{ "00:1c.0/0.0/3.0", BIT(DOWNSTREAM) },
	{ "00:1c.0/00.0/03.0/00.1", BIT(DISK) },
	{ "0000:00:1c.0/00.0/03.0/00.1", BIT(DISK) },
	{ "01:00.0/03.0/00.1", BIT(DISK) },
	{ "02:03.0/00.1", BIT(DISK) },
	{ "00:1c.0/00.0/03.0/00.0", 0 },
	{ "00:1c.0/00.0/04.0/00.1", 0 },
	{ "00:1d.0/00.0/03.0/00.1", 0 },
	{ "00:1c.0/03.0/00.1", 0 },
	{ "00:00.0/1c.0/00.0/03.0/00.1", 0 },
	{ "10000:00:1c.0/00.0/03.0/00.1", 0 },
	{ "00:1c.0/00.1", 0 },
#ifdef CONFIG_PCI_IOV
	{ "02:03.0/10.0", BIT(DISK_FUNCTION) },
	{ "00:1c.0/00.0/03.0/10.0", BIT(DISK_FUNCTION) },
#endif
	/* Ids */
	{ "pci:144d:a808", BIT(DISK) | BIT(OTHER_DOMAIN) },
	{ "pci:144D:A808", BIT(DISK) | BIT(OTHER_DOMAIN) },
	{ "pci:144d:a808:144d:a801", BIT(DISK) },
	{ "pci:144d:a808:1028:1", BIT(OTHER_DOMAIN) },
	{ "pci:144d:0", BIT(DISK) | BIT(DISK_FUNCTION) | BIT(OTHER_DOMAIN) },
	{ "pci:0:a808", BIT(DISK) | BIT(OTHER_DOMAIN) },
	{ "pci:0:0:144d:0", BIT(DISK) | BIT(DISK_FUNCTION) },
	{ "pci:0:0:0:a801", BIT(DISK) },
	{ "pci:1b36:c", BIT(ROOT_PORT) },
	{ "pci:8086:29c0:0:0", BIT(HOST_BRIDGE) },
	{ "pci:144d:a809", 0 },
	{ "pci:ffff:ffff:ffff:ffff", 0 },
	/* Classes */
	{ "class:0108", BIT(DISK) | BIT(DISK_FUNCTION) | BIT(OTHER_DOMAIN) },
	{ "class:010802", BIT(DISK) | BIT(DISK_FUNCTION) },
	{ "class:010801", BIT(OTHER_DOMAIN) },
	{ "class:0604", BIT(ROOT_PORT) | BIT(UPSTREAM) | BIT(DOWNSTREAM) },
	{ "class:060000", BIT(HOST_BRIDGE) },
	{ "class:0C03", 0 },
	{ "class:0000", 0 },
	{ "class:000000", 0 },
};

static void __init pci_list_test_good_entries(struct kunit *test)
{
	struct machine *machine = make_machine(test);
	int i, d;

	for (i = 0; i < ARRAY_SIZE(good_entries); i++) {
		const char *text = good_entries[i].text;
		struct pci_iommu_wish_entry entry;
		unsigned long named = 0;
		const char *reason = pci_iommu_wish_parse(text, &entry);

		KUNIT_EXPECT_NULL_MSG(test, reason, "%s: %s", text, reason);
		if (reason)
			continue;
		for (d = 0; d < DEVICES; d++)
			if (entry_names(&entry, &machine->dev[d]))
				named |= BIT(d);
		KUNIT_EXPECT_EQ_MSG(test, named, good_entries[i].devices,
				    "%s", text);
	}
}

/* Bad entries, and a part of what is said about them */
static const struct {
	const char *text;
	const char *reason;
} bad_entries[] = {
	/* No form at all */
	{ "", "neither" },
	{ "0", "neither" },
	{ "nvme0", "neither" },
	{ "all", "neither" },
	{ "*", "neither" },
	{ "pci", "neither" },
	{ "class", "neither" },
	{ "00", "neither" },
	{ "00.0", "neither" },
	{ "vfio-pci", "neither" },
	/* Addresses */
	{ ":", "bus" },
	{ "::", "domain" },
	{ ":00.0", "bus" },
	{ "00:", "device" },
	{ "00:04", "no function" },
	{ "00:04.", "function" },
	{ "00:04:0", "no function" },
	{ "00:04.8", "function" },
	{ "00:04.10", "function" },
	{ "00:04.a", "function" },
	{ "00:04.*", "function" },
	{ "00:20.0", "device" },
	{ "00:100000000.0", "device" },
	{ "100:00.0", "bus" },
	{ "fffffffff:00.0", "bus" },
	{ "0000:100:00.0", "bus" },
	{ "80000000:00:00.0", "domain" },
	{ "100000000:00:00.0", "domain" },
	{ "10000000000000000:00:00.0", "domain" },
	{ "0x00:04.0", "bus" },
	{ "0x0:00:04.0", "domain" },
	{ "00:0x4.0", "device" },
	{ "00:04.0x0", "function" },
	{ "-0:04.0", "bus" },
	{ "+0:04.0", "bus" },
	{ " 00:04.0", "bus" },
	{ "00 :04.0", "bus" },
	{ "00: 04.0", "device" },
	{ "00:04. 0", "function" },
	{ "00:04.0 ", "text after" },
	{ "00:04.0\n", "text after" },
	{ "00:04.0;", "text after" },
	{ "00:04.0,00:05.0", "bus" },
	{ "00:04.0.0", "text after" },
	{ "00:04.0-1", "text after" },
	{ "00:04.0x", "function" },
	{ "00:04.0@12", "text after" },
	{ "g0:04.0", "bus" },
	{ "0g:04.0", "bus" },
	{ "0:0:0:4.0", "no function" },
	{ "\"00:04.0\"", "bus" },
	{ "00:04.\xff", "function" },
	/* Paths */
	{ "00:04.0/", "device" },
	{ "00:04.0//00.0", "device" },
	{ "/00.0", "neither" },
	{ "00:04.0/00", "no function" },
	{ "00:04.0/20.0", "device" },
	{ "00:04.0/00.8", "function" },
	{ "00:04.0/01:00.0", "bus" },
	{ "00:04.0/00.0x", "function" },
	{ "00:04.0/ 00.0", "device" },
	{ "00:04.0/00.0/", "device" },
	/* Ids */
	{ "pci:", "id is not" },
	{ "pci::", "id is not" },
	{ "pci:8086", "two or four" },
	{ "pci:8086:", "id is not" },
	{ "pci:8086:10d3:", "id is not" },
	{ "pci:8086:10d3:8086", "two or four" },
	{ "pci:8086:10d3:8086:", "id is not" },
	{ "pci:8086:10d3:8086:0:", "text after" },
	{ "pci:8086:10d3:8086:0:0", "text after" },
	{ "pci:10000:10d3", "id is not" },
	{ "pci:8086:18086", "id is not" },
	{ "pci:0x8086:10d3", "id is not" },
	{ "pci:8086:0x10d3", "id is not" },
	{ "pci:8086:10d3 ", "text after" },
	{ "pci:8086:10d3x", "id is not" },
	{ "pci:8086,10d3", "text after" },
	{ "pci:8086.10d3", "text after" },
	{ "pci:8086:*", "id is not" },
	{ "pci:-1:-1", "id is not" },
	{ "pci:00:04.0", "text after" },
	{ "pci:0:0", "every device" },
	{ "pci:0000:0000", "every device" },
	{ "pci:0:0:0:0", "every device" },
	{ "PCI:8086:10d3", "domain" },
	/* Classes */
	{ "class:", "class" },
	{ "class:01", "class" },
	{ "class:010", "class" },
	{ "class:01080", "class" },
	{ "class:0108020", "class" },
	{ "class:01080200", "class" },
	{ "class:0x0108", "class" },
	{ "class:01g8", "class" },
	{ "class: 0108", "class" },
	{ "class:0108 ", "text after" },
	{ "class:01:08", "class" },
	{ "class:0108:02", "text after" },
	{ "class:0108/00.0", "text after" },
	{ "Class:0108", "bus" },
};

static void __init pci_list_test_bad_entries(struct kunit *test)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(bad_entries); i++) {
		struct pci_iommu_wish_entry entry;
		const char *reason = pci_iommu_wish_parse(bad_entries[i].text,
							  &entry);

		KUNIT_EXPECT_NOT_NULL_MSG(test, reason, "'%s' accepted",
					  bad_entries[i].text);
		if (!reason)
			continue;
		KUNIT_EXPECT_NOT_NULL_MSG(test, strstr(reason,
						       bad_entries[i].reason),
					  "'%s': %s", bad_entries[i].text,
					  reason);
	}
}

/* Values of an option, and how many of their entries are good and bad */
static const struct {
	const char *value;
	unsigned int good, bad;
} values[] = {
	{ "", 0, 0 },
	{ ";", 0, 0 },
	{ ";;;", 0, 0 },
	{ "05:00.1", 1, 0 },
	{ "05:00.1;", 1, 0 },
	{ ";05:00.1", 1, 0 },
	{ "05:00.1;;00:1c.0", 2, 0 },
	{ "05:00.1;00:1c.0;pci:8086:10d3;class:0108", 4, 0 },
	{ "05:00.1;05:00.1", 2, 0 },
	{ "05:20.1;00:1c.0", 1, 1 },
	{ "00:1c.0;05:00.8", 1, 1 },
	{ "00:1c.0; 00:1d.0", 1, 1 },
	{ "pci:0:0;00:1c.0;pci:1:2:3", 1, 2 },
	{ "x;y;z", 0, 3 },
};

static void __init pci_list_test_values(struct kunit *test)
{
	struct pci_iommu_wish_list list;
	int i;

	for (i = 0; i < ARRAY_SIZE(values); i++) {
		make_list(test, &list, values[i].value);
		KUNIT_EXPECT_EQ_MSG(test, list.count, values[i].good, "'%s'",
				    values[i].value);
		KUNIT_EXPECT_EQ_MSG(test, list.bad, values[i].bad, "'%s'",
				    values[i].value);
	}
}

static void __init expect_wish(struct kunit *test, struct pci_dev *dev,
			       bool passthrough, bool translated,
			       bool parameter)
{
	KUNIT_EXPECT_EQ(test, (bool)dev->dev.iommu_passthrough, passthrough);
	KUNIT_EXPECT_EQ(test, (bool)dev->dev.iommu_translated, translated);
	KUNIT_EXPECT_EQ(test, (bool)dev->dev.iommu_wish_parameter, parameter);
}

static void __init pci_list_test_repeated_option_adds(struct kunit *test)
{
	struct machine *machine = make_machine(test);
	struct pci_iommu_wish_list list, none;

	list_init(&list);
	list_init(&none);
	KUNIT_EXPECT_EQ(test, 0, pci_iommu_wish_add(&list, "05:00.1", false));
	KUNIT_EXPECT_EQ(test, 0, pci_iommu_wish_add(&list, "bad", false));
	KUNIT_EXPECT_EQ(test, 0, pci_iommu_wish_add(&list, "00:1c.0", false));
	KUNIT_EXPECT_EQ(test, list.count, 2);
	KUNIT_EXPECT_EQ(test, list.bad, 1);

	pci_iommu_wish_apply(&machine->dev[DISK], &list, &none);
	pci_iommu_wish_apply(&machine->dev[ROOT_PORT], &list, &none);
	pci_iommu_wish_apply(&machine->dev[UPSTREAM], &list, &none);
	expect_wish(test, &machine->dev[DISK], true, false, true);
	expect_wish(test, &machine->dev[ROOT_PORT], true, false, true);
	expect_wish(test, &machine->dev[UPSTREAM], false, false, false);
	kfree(list.entries);
}

static void __init pci_list_test_wishes(struct kunit *test)
{
	struct machine *machine = make_machine(test);
	struct pci_iommu_wish_list passthrough, translated;

	make_list(test, &passthrough, "05:00.1;00:1c.0");
	make_list(test, &translated, "class:0108");

	pci_iommu_wish_apply(&machine->dev[DISK], &passthrough, &translated);
	expect_wish(test, &machine->dev[DISK], true, true, true);

	pci_iommu_wish_apply(&machine->dev[ROOT_PORT], &passthrough,
			     &translated);
	expect_wish(test, &machine->dev[ROOT_PORT], true, false, true);

	pci_iommu_wish_apply(&machine->dev[OTHER_DOMAIN], &passthrough,
			     &translated);
	expect_wish(test, &machine->dev[OTHER_DOMAIN], false, true, true);

	pci_iommu_wish_apply(&machine->dev[HOST_BRIDGE], &passthrough,
			     &translated);
	expect_wish(test, &machine->dev[HOST_BRIDGE], false, false, false);
}

/* What a fixup wished before is overridden by a list, and only by a list. */
static void __init pci_list_test_parameter_beats_quirk(struct kunit *test)
{
	struct machine *machine = make_machine(test);
	struct pci_iommu_wish_list passthrough, translated;
	int i;

	make_list(test, &passthrough, "05:00.1");
	make_list(test, &translated, "00:1c.0");

	for (i = 0; i < DEVICES; i++) {
		struct pci_dev *dev = &machine->dev[i];

		dev->dev.iommu_passthrough = i != DISK;
		dev->dev.iommu_translated = i == DISK;
		pci_iommu_wish_apply(dev, &passthrough, &translated);
	}
	expect_wish(test, &machine->dev[DISK], true, false, true);
	expect_wish(test, &machine->dev[ROOT_PORT], false, true, true);
	expect_wish(test, &machine->dev[UPSTREAM], true, false, false);
}

static const struct {
	const char *option;
	bool ours;
} option_names[] = {
	{ "iommu_passthrough", true },
	{ "iommu_passthrough=", true },
	{ "iommu_passthrough=00:04.0", true },
	{ "iommu_translated", true },
	{ "iommu_translated=00:04.0=", true },
	{ "iommu_passthroug", false },
	{ "iommu_passthroughs=00:04.0", false },
	{ "iommu_translate=00:04.0", false },
	{ "iommu_passthrough 00:04.0", false },
	{ "iommu=pt", false },
	{ "00:05.0", false },
	{ "=", false },
	{ "", false },
};

static void __init pci_list_test_option_names(struct kunit *test)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(option_names); i++)
		KUNIT_EXPECT_EQ_MSG(test, option_names[i].ours,
				    pci_iommu_wish_setup(option_names[i].option),
				    "'%s'", option_names[i].option);
}

/* A command line in a buffer of LINE_SIZE, and an option of it */
static const struct {
	const char *line;
	const char *option;
	bool cut;
} lines[] = {
	{ "pci=iommu_passthrough=00:04.000", "iommu_passthrough=00:04.000",
	  true },
	{ "pci=iommu_passthrough=00:04.0000", "iommu_passthrough=00:04.000",
	  true },
	{ "pci=iommu_passthrough=00:04.00", "iommu_passthrough=00:04.00",
	  false },
	{ "pci=iommu_passthrough=00:04.0 x", "iommu_passthrough=00:04.0",
	  false },
	{ "pci=iommu_passthrough=0:0000.0 ", "iommu_passthrough=0:0000.0",
	  false },
	{ "pci=\"iommu_passthrough=00:04.0\"", "iommu_passthrough=00:04.0",
	  false },
	{ "iommu_passthrough=00:04.0000000", "iommu_passthrough=00:04.0000000",
	  true },
	{ "", "iommu_passthrough=00:04.0", false },
	{ "x", "iommu_passthrough=00:04.00000000000000000000", false },
};

static void __init pci_list_test_full_command_line(struct kunit *test)
{
	char *buffer = kunit_kzalloc(test, LINE_SIZE, GFP_KERNEL);
	int i;

	KUNIT_ASSERT_NOT_NULL(test, buffer);
	for (i = 0; i < ARRAY_SIZE(lines); i++) {
		/* Without a NUL at the end if the line is too long for one. */
		memset(buffer, 0, LINE_SIZE);
		memcpy(buffer, lines[i].line,
		       min(strlen(lines[i].line), LINE_SIZE));
		KUNIT_EXPECT_EQ_MSG(test, lines[i].cut,
				    pci_iommu_wish_option_is_cut(lines[i].option,
								 buffer,
								 LINE_SIZE),
				    "'%s'", lines[i].line);
	}
}

/* The last entry is refused, or used, as the list wants it. */
static void __init pci_list_test_cut_entry(struct kunit *test)
{
	struct pci_iommu_wish_list list;

	list_init(&list);
	KUNIT_EXPECT_EQ(test, 0, pci_iommu_wish_add(&list, "05:00.1;00:1c.0",
						    true));
	KUNIT_EXPECT_EQ(test, list.count, 1);
	KUNIT_EXPECT_EQ(test, list.bad, 1);
	KUNIT_EXPECT_EQ(test, list.entries[0].path.bus, 5);

	KUNIT_EXPECT_EQ(test, 0, pci_iommu_wish_add(&list, "05:00.1;", true));
	KUNIT_EXPECT_EQ(test, list.count, 2);
	KUNIT_EXPECT_EQ(test, list.bad, 2);

	list.keep_cut = true;
	KUNIT_EXPECT_EQ(test, 0, pci_iommu_wish_add(&list, "05:00.1;00:1c.0",
						    true));
	KUNIT_EXPECT_EQ(test, list.count, 4);
	KUNIT_EXPECT_EQ(test, list.bad, 2);

	KUNIT_EXPECT_EQ(test, 0, pci_iommu_wish_add(&list, "05:00.1;00:1c.",
						    true));
	KUNIT_EXPECT_EQ(test, list.count, 5);
	KUNIT_EXPECT_EQ(test, list.bad, 3);
	kfree(list.entries);
}

static void __init pci_list_test_many_entries(struct kunit *test)
{
	const int entries = 1000;
	size_t size = entries * sizeof("0000:00:00.0;");
	struct machine *machine = make_machine(test);
	struct pci_dev *dev = &machine->dev[HOST_BRIDGE];
	struct pci_iommu_wish_list list, none;
	size_t used = 0;
	char *value;
	int i;

	value = kunit_kzalloc(test, size, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, value);
	for (i = 0; i < entries; i++)
		used += scnprintf(value + used, size - used,
				  "0000:%02x:%02x.%x;", i >> 8,
				  PCI_SLOT(i & 0xff), PCI_FUNC(i & 0xff));

	make_list(test, &list, value);
	list_init(&none);
	KUNIT_EXPECT_EQ(test, list.count, entries);
	KUNIT_EXPECT_EQ(test, list.bad, 0);

	for (i = 0; i < entries + 24; i++) {
		dev->bus->number = i >> 8;
		dev->devfn = i & 0xff;
		dev->dev.iommu_passthrough = false;
		pci_iommu_wish_apply(dev, &list, &none);
		KUNIT_EXPECT_EQ_MSG(test, (bool)dev->dev.iommu_passthrough,
				    i < entries, "device %d", i);
	}
}

/* Fills @length characters with @pattern over and over, between two texts. */
static char * __init make_long(struct kunit *test, const char *start,
			       const char *pattern, const char *end, int length)
{
	size_t size = length + 1;
	size_t used, pattern_length = strlen(pattern);
	char *text = kunit_kzalloc(test, size, GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, text);
	used = scnprintf(text, size, "%s", start);
	while (used + pattern_length + strlen(end) <= length)
		used += scnprintf(text + used, size - used, "%s", pattern);
	scnprintf(text + used, size - used, "%s", end);
	return text;
}

static const struct {
	const char *start, *pattern, *end;
	const char *reason;
} long_entries[] = {
	{ "", "x", "", "neither" },
	{ "", "0", "", "neither" },
	{ "", "f", ":00.0", "bus" },
	{ "", "0", ":00.0", NULL },
	{ "", "0:", "", "no function" },
	{ "00:", "0", "4.0", NULL },
	{ "00:04.0", "0", "", NULL },
	{ "00:04.", "8", "", "function" },
	{ "00:04.0", "/1.0", "", "path of more" },
	{ "00:04.0", "/1.", "", "function" },
	{ "pci:", "f", "", "id is not" },
	{ "pci:", "0", ":1", NULL },
	{ "pci:", "0:", "0", "text after" },
	{ "class:", "0", "", "class" },
	{ "", "\xff", "", "neither" },
};

static void __init pci_list_test_long_entries(struct kunit *test)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(long_entries); i++) {
		struct pci_iommu_wish_list list;
		struct pci_iommu_wish_entry entry;
		const char *wanted = long_entries[i].reason;
		const char *reason;
		char *text = make_long(test, long_entries[i].start,
				       long_entries[i].pattern,
				       long_entries[i].end, 2000);

		reason = pci_iommu_wish_parse(text, &entry);
		if (!wanted) {
			KUNIT_EXPECT_NULL_MSG(test, reason, "entry %d: %s", i,
					      reason);
		} else {
			KUNIT_EXPECT_NOT_NULL_MSG(test, reason, "entry %d", i);
			if (reason)
				KUNIT_EXPECT_NOT_NULL_MSG(test,
							  strstr(reason, wanted),
							  "entry %d: %s", i,
							  reason);
		}

		make_list(test, &list, text);
		KUNIT_EXPECT_EQ_MSG(test, list.count, !wanted, "entry %d", i);
		KUNIT_EXPECT_EQ_MSG(test, list.bad, !!wanted, "entry %d", i);
	}
}

/* The deepest path that fits, and one that is deeper */
static void __init pci_list_test_path_depth(struct kunit *test)
{
	const int deepest = strlen("00:04.0") +
			    (PCI_IOMMU_WISH_DEPTH - 1) * strlen("/1.0");
	struct pci_iommu_wish_entry entry;

	KUNIT_EXPECT_NULL(test, pci_iommu_wish_parse(make_long(test, "00:04.0",
							       "/1.0", "",
							       deepest),
						     &entry));
	KUNIT_EXPECT_EQ(test, entry.path.depth, PCI_IOMMU_WISH_DEPTH);
	KUNIT_EXPECT_NOT_NULL(test,
			      pci_iommu_wish_parse(make_long(test, "00:04.0",
							     "/1.0", "",
							     deepest + 4),
						   &entry));
}

/* Text that is nearly an entry, or nothing but characters that entries have */
static size_t __init random_text(struct rnd_state *random, char *text,
				 size_t size)
{
	static const char alphabet[] = "0123456789abcdefABCDEF:::...//pcilasx;, -";
	size_t length, i;
	u32 changes;

	if (prandom_u32_state(random) % 2) {
		length = prandom_u32_state(random) % (size - 1);
		for (i = 0; i < length; i++)
			text[i] = prandom_u32_state(random) % 8 ?
				alphabet[prandom_u32_state(random) %
					 (sizeof(alphabet) - 1)] :
				1 + prandom_u32_state(random) % 255;
		text[length] = 0;
		return length;
	}

	i = prandom_u32_state(random) % ARRAY_SIZE(good_entries);
	length = strscpy(text, good_entries[i].text, size);
	for (changes = prandom_u32_state(random) % 3; changes; changes--)
		text[prandom_u32_state(random) % length] =
			alphabet[prandom_u32_state(random) %
				 (sizeof(alphabet) - 1)];
	return length;
}

/*
 * Nothing crashes, and whatever is accepted means the same devices as it does
 * to the other options that take PCI devices.
 */
static void __init pci_list_test_random_strings(struct kunit *test)
{
	const int strings = 100000;
	struct machine *machine = make_machine(test);
	unsigned int accepted = 0, matched = 0;
	struct rnd_state random;
	char text[48];
	int i, d;

	prandom_seed_state(&random, 20200101);
	for (i = 0; i < strings; i++) {
		struct pci_iommu_wish_entry entry;
		size_t length = random_text(&random, text, sizeof(text));
		/* Of exactly its size, so that KASAN sees what is read. */
		char *copy = kmemdup(text, length + 1, GFP_KERNEL);
		bool good;

		KUNIT_ASSERT_NOT_NULL(test, copy);
		good = !pci_iommu_wish_parse(copy, &entry);
		accepted += good;
		for (d = 0; d < DEVICES; d++) {
			struct pci_dev *dev = &machine->dev[d];
			const char *end = copy;
			int stock = pci_dev_str_match(dev, copy, &end);
			bool named = good && entry_names(&entry, dev);

			matched += named;
			if (good && (stock != named || *end))
				KUNIT_FAIL(test, "'%s', device %d: %d, not %d",
					   copy, d, stock, named);
		}
		kfree(copy);
		cond_resched();
	}

	/* Otherwise nothing was compared. */
	KUNIT_EXPECT_GT(test, accepted, strings / 10);
	KUNIT_EXPECT_LT(test, accepted, strings / 2);
	KUNIT_EXPECT_GT(test, matched, strings / 10);
}

/* Whole lists; few, because each bad entry is named in the log. */
static void __init pci_list_test_random_lists(struct kunit *test)
{
	struct rnd_state random;
	int i;

	prandom_seed_state(&random, 20200102);
	for (i = 0; i < 20; i++) {
		struct pci_iommu_wish_list list;
		char text[200];
		unsigned int entries = 1;
		const char *s;

		random_text(&random, text, sizeof(text));
		for (s = text; *s; s++)
			entries += *s == ';';
		make_list(test, &list, text);
		KUNIT_EXPECT_LE(test, list.count + list.bad, entries);
	}
}

/*
 * What disable_acs_redir=, config_acs= and resource_alignment= accept, errors
 * and oddities included: who relies on them must not see a change.
 */
static const struct {
	const char *text;
	int result;	/* for DISK */
	int end;	/* characters used, if it is not an error */
} stock_entries[] = {
	{ "05:00.1", 1, 7 },
	{ "5:0.1", 1, 5 },
	{ "0000:05:00.1", 1, 12 },
	{ "0x5:0.1", 1, 7 },
	{ "05:00.1;00:00.0", 1, 7 },
	{ "05:00.0", 0, 7 },
	{ "05:00.0;05:00.1", 0, 7 },
	{ "10000:05:00.1", 0, 13 },
	{ "05:20.1", 1, 7 },
	{ "05:00.9", 1, 7 },
	{ "05:00.1x", -EINVAL, 0 },
	{ "05:00.1,00:00.0", -EINVAL, 0 },
	{ "05:00", -EINVAL, 0 },
	{ "05", -EINVAL, 0 },
	{ "", -EINVAL, 0 },
	{ ";", -EINVAL, 0 },
	{ "nonsense", -EINVAL, 0 },
	{ "00:1c.0/00.0/03.0/00.1", 1, 22 },
	{ "02:03.0/00.1;x", 1, 12 },
	{ "00:1c.0/00.0/03.0/00.0", 0, 22 },
	{ "x/00.0", 0, 6 },
	{ "x/00.1", -EINVAL, 0 },
	{ "02:03.0/", -EINVAL, 0 },
	{ "02:03.0/00.1/", -EINVAL, 0 },
	{ "02:03.0/00.1x", -EINVAL, 0 },
	{ "pci:144d:a808", 1, 13 },
	{ "pci:144d:a808;x", 1, 13 },
	{ "pci:144d:a808,x", 1, 13 },
	{ "pci:144d:a808junk", 1, 13 },
	{ "pci:0x144d:a808", 1, 15 },
	{ "pci:144d:a808:144d:a801", 1, 23 },
	{ "pci:144d:a808:144d", 1, 13 },
	{ "pci:144d:a809", 0, 13 },
	{ "pci:144d:a808:144d:a802", 0, 23 },
	{ "pci:0:0", 1, 7 },
	{ "pci:0:0:0:0", 1, 11 },
	{ "pci:1144d:a808", 1, 14 },
	{ "pci:144d", -EINVAL, 0 },
	{ "pci:", -EINVAL, 0 },
	{ "pci:x", -EINVAL, 0 },
	{ "class", -EINVAL, 0 },
	{ "class:", -EINVAL, 0 },
	{ "c:0.0", 0, 5 },
	/* New, was -EINVAL */
	{ "class:0108", 1, 10 },
	{ "class:0108;x", 1, 10 },
	{ "class:0108,x", 1, 10 },
	{ "class:010802", 1, 12 },
	{ "class:010801", 0, 12 },
	{ "class:0604", 0, 10 },
	{ "class:0604;class:0108", 0, 10 },
	{ "class:010", -EINVAL, 0 },
	{ "class:01080", -EINVAL, 0 },
	{ "class:0108023", -EINVAL, 0 },
	{ "class:0108x", -EINVAL, 0 },
	{ "class:0x0108", -EINVAL, 0 },
};

static void __init pci_list_test_other_options(struct kunit *test)
{
	struct machine *machine = make_machine(test);
	int i;

	for (i = 0; i < ARRAY_SIZE(stock_entries); i++) {
		const char *text = stock_entries[i].text;
		const char *end = text;

		KUNIT_EXPECT_EQ_MSG(test, stock_entries[i].result,
				    pci_dev_str_match(&machine->dev[DISK], text,
						      &end),
				    "'%s'", text);
		KUNIT_EXPECT_EQ_MSG(test, stock_entries[i].end, end - text,
				    "'%s'", text);
	}
}

static struct kunit_case __refdata pci_list_test_cases[] = {
	KUNIT_CASE(pci_list_test_good_entries),
	KUNIT_CASE(pci_list_test_bad_entries),
	KUNIT_CASE(pci_list_test_values),
	KUNIT_CASE(pci_list_test_repeated_option_adds),
	KUNIT_CASE(pci_list_test_wishes),
	KUNIT_CASE(pci_list_test_parameter_beats_quirk),
	KUNIT_CASE(pci_list_test_option_names),
	KUNIT_CASE(pci_list_test_full_command_line),
	KUNIT_CASE(pci_list_test_cut_entry),
	KUNIT_CASE(pci_list_test_many_entries),
	KUNIT_CASE(pci_list_test_long_entries),
	KUNIT_CASE(pci_list_test_path_depth),
	KUNIT_CASE_SLOW(pci_list_test_random_strings),
	KUNIT_CASE(pci_list_test_random_lists),
	KUNIT_CASE(pci_list_test_other_options),
	{}
};

static struct kunit_suite pci_list_test_suite = {
	.name = "iommu_pci_list",
	.test_cases = pci_list_test_cases,
};

/* The parser is only there while the kernel boots. */
kunit_test_init_section_suites(&pci_list_test_suite);
