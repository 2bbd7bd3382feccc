// SPDX-License-Identifier: GPL-2.0
/*
 * Per-device wishes for the IOMMU default domain type, from the command line
 *
 *   pci=iommu_passthrough=<pci_dev>[;...]
 *   pci=iommu_translated=<pci_dev>[;...]
 *
 * The lists are parsed once, before the first PCI device is added, and what
 * they say about a device is noted in its struct device when it is added. The
 * IOMMU core makes the decision.
 *
 * The parser is strict: giving a device direct access to memory because a
 * typing error happens to name it would be worse than doing nothing. A bad
 * entry is named in the log and skipped, the others are used.
 */
#define pr_fmt(fmt) "PCI: " fmt

#include <kunit/visibility.h>
#include <linux/ctype.h>
#include <linux/hex.h>
#include <linux/init.h>
#include <linux/kernel.h>
#include <linux/limits.h>
#include <linux/overflow.h>
#include <linux/pci.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <asm/setup.h>

#include "iommu-wish.h"
#include "pci.h"

/* Characters of a bad entry that are shown in the log */
#define SHOWN_LENGTH	64

/* The command line has no room for more options than this. */
#define MAX_OPTIONS	(COMMAND_LINE_SIZE / sizeof("iommu_translated"))

/*
 * Written by an initcall that runs before any PCI device exists, and only read
 * afterwards: no locking.
 */
static struct pci_iommu_wish_list passthrough_list __ro_after_init = {
	.option = "iommu_passthrough",
};

static struct pci_iommu_wish_list translated_list __ro_after_init = {
	.option = "iommu_translated",
	.error = true,
	/*
	 * Translation of a device that was not meant costs speed, no
	 * translation of one that was meant costs protection.
	 */
	.keep_cut = true,
};

/* The options as pci_setup() saw them, "name=value" or only "name" */
static struct {
	const char *text[MAX_OPTIONS];
	unsigned int count;
} options __initdata;

/*
 * Reads a hexadecimal number of at most @max. What sscanf() and kstrtox() would
 * take as well is refused: a sign, white space, a prefix "0x", a value that does
 * not fit.
 */
static bool __init read_hex(const char **text, u32 max, u32 *value)
{
	const char *s = *text;
	u64 result = 0;

	if (!isxdigit(*s))
		return false;

	for (; isxdigit(*s); s++) {
		result = result << 4 | hex_to_bin(*s);
		if (result > max)
			return false;
	}
	if (isalnum(*s))
		return false;

	*text = s;
	*value = result;
	return true;
}

static const char * __init parse_devfn(const char **text, u8 *devfn)
{
	u32 device, function;

	if (!read_hex(text, 0x1f, &device))
		return "device is not a hexadecimal number from 0 to 1f";
	if (**text != '.')
		return "no function after the device";
	++*text;
	if (!read_hex(text, 7, &function))
		return "function is not a number from 0 to 7";

	*devfn = PCI_DEVFN(device, function);
	return NULL;
}

static const char * __init parse_path(const char *text,
				      struct pci_iommu_wish_entry *entry)
{
	const char *colon = strchr(text, ':');
	const char *reason;
	u32 domain = 0;
	u32 bus;

	if (!colon)
		return "neither an address nor pci: nor class:";

	if (strchr(colon + 1, ':')) {
		if (!read_hex(&text, INT_MAX, &domain) || *text != ':')
			return "domain is not a hexadecimal number from 0 to 7fffffff";
		text++;
	}
	if (!read_hex(&text, 0xff, &bus) || *text != ':')
		return "bus is not a hexadecimal number from 0 to ff";

	entry->form = PCI_IOMMU_WISH_PATH;
	entry->path.domain = domain;
	entry->path.bus = bus;
	entry->path.depth = 0;
	do {
		if (entry->path.depth == PCI_IOMMU_WISH_DEPTH)
			return "path of more than " __stringify(PCI_IOMMU_WISH_DEPTH) " devices";
		text++;
		reason = parse_devfn(&text, &entry->path.devfn[entry->path.depth]);
		if (reason)
			return reason;
		entry->path.depth++;
	} while (*text == '/');

	return *text ? "text after the function" : NULL;
}

static const char * __init parse_ids(const char *text,
				     struct pci_iommu_wish_entry *entry)
{
	u32 id[4] = {};
	int count = 0;

	for (;;) {
		if (!read_hex(&text, 0xffff, &id[count]))
			return "id is not a hexadecimal number from 0 to ffff";
		count++;
		if (*text != ':' || count == ARRAY_SIZE(id))
			break;
		text++;
	}
	if (*text)
		return "text after the ids";
	if (count != 2 && count != 4)
		return "two or four ids are needed";
	if (!id[0] && !id[1] && !id[2] && !id[3])
		return "would match every device";

	entry->form = PCI_IOMMU_WISH_IDS;
	entry->ids.vendor = id[0];
	entry->ids.device = id[1];
	entry->ids.subvendor = id[2];
	entry->ids.subdevice = id[3];
	return NULL;
}

static const char * __init parse_class(const char *text,
				       struct pci_iommu_wish_entry *entry)
{
	int length = pci_dev_str_parse_class(text, &entry->class.value,
					     &entry->class.mask);

	if (length < 0)
		return "class is not a number of 4 or 6 hexadecimal digits";
	if (text[length])
		return "text after the class";

	entry->form = PCI_IOMMU_WISH_CLASS;
	return NULL;
}

/**
 * pci_iommu_wish_parse - parse one entry of a list
 * @text: the entry, without a separator
 * @entry: where to put it; undefined when the entry is bad
 *
 * Return: NULL when the entry is good, otherwise what is wrong with it.
 */
VISIBLE_IF_KUNIT const char * __init
pci_iommu_wish_parse(const char *text, struct pci_iommu_wish_entry *entry)
{
	if (strstarts(text, "pci:"))
		return parse_ids(text + strlen("pci:"), entry);
	if (strstarts(text, "class:"))
		return parse_class(text + strlen("class:"), entry);
	return parse_path(text, entry);
}

static void __init complain(const struct pci_iommu_wish_list *list,
			    const char *entry, const char *what,
			    const char *reason)
{
	int length = strnlen(entry, SHOWN_LENGTH);
	const char *more = entry[length] ? "..." : "";

	if (list->error)
		pr_err("%s: entry '%*pE%s' %s: %s\n", list->option, length,
		       entry, more, what, reason);
	else
		pr_warn("%s: entry '%*pE%s' %s: %s\n", list->option, length,
			entry, more, what, reason);
}

static void __init add_entry(struct pci_iommu_wish_list *list, const char *text,
			     bool cut)
{
	const char *reason;

	if (cut && !(list->keep_cut && *text))
		reason = "command line is full, the entry may be cut off";
	else
		reason = pci_iommu_wish_parse(text,
					      &list->entries[list->count]);

	if (reason) {
		list->bad++;
		complain(list, text, "ignored", reason);
		return;
	}

	list->count++;
	if (cut)
		complain(list, text, "used as it stands",
			 "command line is full, the entry may be cut off");
}

/**
 * pci_iommu_wish_add - parse the value of an option, add its entries to a list
 * @list: the list
 * @value: entries with ';' between them; empty ones mean nothing
 * @cut: the end of @value may be missing
 *
 * Return: 0 also with bad entries, which are named in the log; -ENOMEM if none
 * of the entries was added.
 */
VISIBLE_IF_KUNIT int __init pci_iommu_wish_add(struct pci_iommu_wish_list *list,
					       const char *value, bool cut)
{
	struct pci_iommu_wish_entry *entries;
	unsigned int room = list->count + 1;
	char *copy, *rest, *text;
	bool empty = true;
	const char *s;

	for (s = value; *s; s++)
		room += *s == ';';

	copy = kstrdup(value, GFP_KERNEL);
	if (!copy)
		return -ENOMEM;

	entries = krealloc_array(list->entries, room, sizeof(*entries),
				 GFP_KERNEL);
	if (!entries) {
		kfree(copy);
		return -ENOMEM;
	}
	list->entries = entries;

	rest = copy;
	while ((text = strsep(&rest, ";"))) {
		bool last = !rest;

		if (!*text && !(last && cut))
			continue;
		empty = false;
		add_entry(list, text, last && cut);
	}
	kfree(copy);

	if (empty)
		pr_warn("%s: no device given\n", list->option);
	return 0;
}

/**
 * pci_iommu_wish_option_is_cut - may the end of an option be missing?
 * @option: the option with its value
 * @line: the command line
 * @size: size of the buffer of the command line
 *
 * A command line that is too long is cut off without a word on most
 * architectures, and what is left of an entry can be another valid entry.
 *
 * Return: true if the command line fills its buffer and ends with the option.
 */
VISIBLE_IF_KUNIT bool __init
pci_iommu_wish_option_is_cut(const char *option, const char *line, size_t size)
{
	/* There may be no NUL in the buffer if the line was cut off. */
	size_t line_length = strnlen(line, size - 1);
	size_t length = strlen(option);

	return line_length == size - 1 && length <= line_length &&
	       !memcmp(line + line_length - length, option, length);
}

static struct pci_iommu_wish_list * __init list_of(const char *option)
{
	if (pci_iommu_wish_is(option, passthrough_list.option))
		return &passthrough_list;
	if (pci_iommu_wish_is(option, translated_list.option))
		return &translated_list;
	return NULL;
}

/**
 * pci_iommu_wish_setup - take note of an option of "pci="
 * @option: the option with its value, which has to stay in memory until the
 *	initcalls
 *
 * It is too early to allocate memory, so nothing is parsed yet. An option that
 * is given again adds to its list.
 *
 * Return: true if the option is one of ours.
 */
bool __init pci_iommu_wish_setup(const char *option)
{
	const struct pci_iommu_wish_list *list = list_of(option);

	if (!list)
		return false;

	if (options.count < MAX_OPTIONS)
		options.text[options.count++] = option;
	else
		pr_err("%s: given too often, ignored\n", list->option);
	return true;
}

static int __init pci_iommu_wish_init(void)
{
	unsigned int i;

	for (i = 0; i < options.count; i++) {
		const char *option = options.text[i];
		struct pci_iommu_wish_list *list = list_of(option);
		const char *value = option + strlen(list->option);
		bool cut;

		if (*value == '=')
			value++;
		cut = pci_iommu_wish_option_is_cut(option, boot_command_line,
						   COMMAND_LINE_SIZE);
		if (pci_iommu_wish_add(list, value, cut))
			pr_err("%s: no memory, ignored\n", list->option);
	}
	return 0;
}
pure_initcall(pci_iommu_wish_init);

/* Walks up from the device, as bus numbers are only known at the path's root. */
static bool path_matches(const struct pci_iommu_wish_entry *entry,
			 struct pci_dev *dev)
{
	unsigned int i;

	for (i = entry->path.depth - 1; i > 0; i--) {
		if (dev->devfn != entry->path.devfn[i])
			return false;
		/* The device holds a reference to the bridges above it. */
		dev = pci_upstream_bridge(dev);
		if (!dev)
			return false;
	}

	return pci_domain_nr(dev->bus) == entry->path.domain &&
	       dev->bus->number == entry->path.bus &&
	       dev->devfn == entry->path.devfn[0];
}

static bool id_matches(u16 wanted, u16 id)
{
	return !wanted || wanted == id;
}

static bool ids_match(const struct pci_iommu_wish_entry *entry,
		      const struct pci_dev *dev)
{
	return id_matches(entry->ids.vendor, dev->vendor) &&
	       id_matches(entry->ids.device, dev->device) &&
	       id_matches(entry->ids.subvendor, dev->subsystem_vendor) &&
	       id_matches(entry->ids.subdevice, dev->subsystem_device);
}

static bool entry_matches(const struct pci_iommu_wish_entry *entry,
			  struct pci_dev *dev)
{
	switch (entry->form) {
	case PCI_IOMMU_WISH_PATH:
		return path_matches(entry, dev);
	case PCI_IOMMU_WISH_IDS:
		return ids_match(entry, dev);
	case PCI_IOMMU_WISH_CLASS:
		return (dev->class & entry->class.mask) == entry->class.value;
	}
	return false;
}

static bool list_matches(const struct pci_iommu_wish_list *list,
			 struct pci_dev *dev)
{
	unsigned int i;

	for (i = 0; i < list->count; i++)
		if (entry_matches(&list->entries[i], dev))
			return true;
	return false;
}

/**
 * pci_iommu_wish_apply - note in a device what two lists say about it
 * @dev: the device
 * @passthrough: devices that should get an identity domain
 * @translated: devices that should get translation
 *
 * The lists beat what kernel code wished before. A device that is on neither
 * list is not touched, one that is on both has both wishes: it is up to the
 * IOMMU core which of them wins.
 */
VISIBLE_IF_KUNIT void
pci_iommu_wish_apply(struct pci_dev *dev,
		     const struct pci_iommu_wish_list *passthrough,
		     const struct pci_iommu_wish_list *translated)
{
	bool wish_passthrough = list_matches(passthrough, dev);
	bool wish_translated = list_matches(translated, dev);

	if (!wish_passthrough && !wish_translated)
		return;

	dev->dev.iommu_passthrough = wish_passthrough;
	dev->dev.iommu_translated = wish_translated;
	dev->dev.iommu_wish_parameter = true;
}

/**
 * pci_set_iommu_wish - note in a device what the command line says about it
 * @dev: a device that nobody else can see yet
 *
 * To be called for every device, after its header fixups, which may change its
 * class and may wish something themselves, and before the IOMMU core learns of
 * it.
 */
void pci_set_iommu_wish(struct pci_dev *dev)
{
	pci_iommu_wish_apply(dev, &passthrough_list, &translated_list);
}
