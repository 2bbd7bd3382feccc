// SPDX-License-Identifier: GPL-2.0-only
/*
 * Changes of an IOMMU group's default domain type that fail half way.
 *
 * Every allocation that a change asks for, and every attach of a device, fails
 * once. After each of these either nothing has changed and the write has said
 * so, or all has changed; and the DMA of every device of the group works.
 *
 * That needs QEMU's "edu" devices without a driver, one that is alone in its
 * IOMMU group and two that share one; the module edu_dma_test; and a kernel
 * that can make allocations and functions fail.
 *
 * A transfer takes this device a tenth of a second. With GROUP_FAULTS_EACH set
 * there is one after each failure; without, after the first ones, where it
 * ended differently from the one before, and now and then.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#include "../kselftest_harness.h"
#include "faults.h"
#include "group_files.h"
#include "pci_device.h"
#include "sysfs_line.h"

/* Only a test that hangs takes that long */
#define SECONDS		3000

#define DRIVER		"edu_dma_test"
#define EDU_FILES	DEBUGFS "/" DRIVER

/* Without GROUP_FAULTS_EACH: the first failures, and each so many of the rest */
#define FIRST_FAILURES	4
#define EACH_FAILURES	64

/* How often a change is tried until each of its attaches has failed */
#define ROUNDS		5

/* What an attach is made to fail with; nothing else here says that */
#define ATTACH_ERROR	EXDEV

struct group {
	char name[NAME_SIZE];
	struct device devices[2];
	unsigned int nr_devices;
};

struct state {
	char type[NAME_SIZE];
	char source[NAME_SIZE];
};

static struct group single, pair;

/* The groups */

/* All devices of the group are ours, and there is room for them */
static bool read_group(struct group *group, const char *name)
{
	char path[PATH_MAX];
	struct dirent *entry;
	bool ours = true;
	DIR *dir;

	*group = (struct group){ };
	snprintf(group->name, NAME_SIZE, "%s", name);
	snprintf(path, sizeof(path), GROUPS "/%s/devices", name);
	dir = opendir(path);
	if (!dir)
		return false;
	while ((entry = readdir(dir))) {
		struct device *device = &group->devices[group->nr_devices];

		if (entry->d_name[0] == '.')
			continue;
		ours &= is_edu(entry->d_name) &&
			group->nr_devices < ARRAY_SIZE(group->devices);
		if (!ours)
			break;
		snprintf(device->address, NAME_SIZE, "%s", entry->d_name);
		remember_driver(device);
		group->nr_devices++;
	}
	closedir(dir);
	return ours;
}

static void find_groups(void)
{
	struct dirent **entries;
	int nr = scandir(GROUPS, &entries, NULL, versionsort);
	struct group group;

	for (int i = 0; i < nr; i++) {
		if (read_group(&group, entries[i]->d_name)) {
			if (group.nr_devices == 1 && !single.name[0])
				single = group;
			else if (group.nr_devices == 2)
				pair = group;
		}
		free(entries[i]);
	}
	if (nr >= 0)
		free(entries);
}

static void give_back_group(const struct group *group)
{
	for (unsigned int i = 0; i < group->nr_devices; i++)
		unbind_device(&group->devices[i]);
	if (group->name[0])
		write_group_type(group->name, "auto", strlen("auto"));
	for (unsigned int i = 0; i < group->nr_devices; i++)
		give_back_driver(&group->devices[i]);
}

/* Called once, however the tests end */
static void give_back_groups(void)
{
	give_back_group(&single);
	give_back_group(&pair);
}

static int read_state(const struct group *group, struct state *state)
{
	return read_group_file(group->name, "type", state->type, NAME_SIZE) ?:
	       read_group_file(group->name, "type_source", state->source,
			       NAME_SIZE);
}

static bool same_state(const struct state *a, const struct state *b)
{
	return !strcmp(a->type, b->type) && !strcmp(a->source, b->source);
}

static int write_type(const struct group *group, const char *type)
{
	return write_group_type(group->name, type, strlen(type));
}

static bool bind_group(const struct group *group)
{
	for (unsigned int i = 0; i < group->nr_devices; i++)
		if (!bind_device(&group->devices[i], DRIVER))
			return false;
	return true;
}

static bool unbind_group(const struct group *group)
{
	for (unsigned int i = 0; i < group->nr_devices; i++)
		if (unbind_device(&group->devices[i]))
			return false;
	return true;
}

/* DMA */

static int read_value(const struct device *device, const char *file,
		      unsigned long long *value)
{
	char path[PATH_MAX], line[NAME_SIZE];

	snprintf(path, sizeof(path), EDU_FILES "/%s/%s", device->address, file);
	if (read_line(path, line))
		return -1;
	*value = strtoull(line, NULL, 16);
	return 0;
}

static int write_words(const struct device *device, const char *file,
		       const char *words)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), EDU_FILES "/%s/%s", device->address, file);
	return write_line(path, words);
}

/*
 * Whether DMA of a bound device works, and as the type says. It reads a value
 * where the DMA API has mapped a page. Then it writes it to another page, at
 * the page's physical address where that is what identity promises, else where
 * the page is mapped for that.
 */
static bool dma_works(const struct device *device, const char *type)
{
	static unsigned int number;
	unsigned long long wanted = 0x600d000000000000ULL + ++number;
	unsigned long long address, value;
	char words[NAME_SIZE];

	if (strcmp(type, "identity")) {
		snprintf(words, sizeof(words), "%#llx", wanted);
		if (write_words(device, "dma_stream", words))
			return false;
	} else {
		if (read_value(device, "victim_address", &address))
			return false;
		snprintf(words, sizeof(words), "%#llx %#llx", address, wanted);
		if (write_words(device, "dma_write", words))
			return false;
	}
	return !read_value(device, "victim_value", &value) && value == wanted;
}

/* As above, for each device of a group, which are bound for it if need be */
static bool all_dma_works(const struct group *group, const char *type,
			  bool bound)
{
	bool works = bound || bind_group(group);

	for (unsigned int i = 0; i < group->nr_devices; i++) {
		if (works && !dma_works(&group->devices[i], type)) {
			ksft_print_msg("%s: no DMA with type %s\n",
				       group->devices[i].address, type);
			works = false;
		}
	}
	return works && (bound || unbind_group(group));
}

FIXTURE(group_faults)
{
	int faults;
};

FIXTURE_VARIANT(group_faults)
{
	const char *from;
	const char *to;
	/* With a driver bound all the time */
	bool bound;
};

FIXTURE_VARIANT_ADD(group_faults, identity_to_strict)
{
	.from = "identity",
	.to = "DMA",
};

FIXTURE_VARIANT_ADD(group_faults, identity_to_lazy)
{
	.from = "identity",
	.to = "DMA-FQ",
};

FIXTURE_VARIANT_ADD(group_faults, identity_to_auto)
{
	.from = "identity",
	.to = "auto",
};

FIXTURE_VARIANT_ADD(group_faults, strict_to_identity)
{
	.from = "DMA",
	.to = "identity",
};

FIXTURE_VARIANT_ADD(group_faults, strict_to_lazy)
{
	.from = "DMA",
	.to = "DMA-FQ",
};

FIXTURE_VARIANT_ADD(group_faults, strict_to_lazy_bound)
{
	.from = "DMA",
	.to = "DMA-FQ",
	.bound = true,
};

FIXTURE_VARIANT_ADD(group_faults, strict_to_auto)
{
	.from = "DMA",
	.to = "auto",
};

FIXTURE_VARIANT_ADD(group_faults, lazy_to_identity)
{
	.from = "DMA-FQ",
	.to = "identity",
};

FIXTURE_VARIANT_ADD(group_faults, lazy_to_strict)
{
	.from = "DMA-FQ",
	.to = "DMA",
};

FIXTURE_VARIANT_ADD(group_faults, lazy_to_strict_bound)
{
	.from = "DMA-FQ",
	.to = "DMA",
	.bound = true,
};

FIXTURE_VARIANT_ADD(group_faults, lazy_to_auto)
{
	.from = "DMA-FQ",
	.to = "auto",
};

FIXTURE_SETUP(group_faults)
{
	const char *reason;

	self->faults = -1;
	if (geteuid())
		SKIP(return, "needs root");
	if (access(PCI_DRIVERS "/" DRIVER, F_OK))
		SKIP(return, "the module " DRIVER " is not there");
	reason = open_faults(&self->faults);
	if (reason)
		SKIP(return, "%s", reason);
	if (name_attach_error(ATTACH_ERROR, "0"))
		SKIP(return, "this kernel cannot make an attach fail");
}

FIXTURE_TEARDOWN(group_faults)
{
	if (self->faults >= 0)
		close(self->faults);
}

/* A new domain, since one may keep what it was given once; 0 or an errno */
static int begin(const struct group *group, const char *type, bool bound)
{
	int error = unbind_group(group) ? 0 : EIO;

	if (!error)
		error = write_type(group, strcmp(type, "identity") ?
					  "identity" : "DMA");
	if (!error)
		error = write_type(group, type);
	if (!error && bound && !bind_group(group))
		error = EIO;
	return error;
}

/* One write of which the nth step fails */
struct attempt {
	unsigned int nth;
	bool reached;
	int error;
	struct state before;
	struct state after;
};

/* Returns 0 or a negative errno, the write's own is in the attempt */
static int make_attempt(struct attempt *attempt, const struct group *group,
			const char *type, int faults)
{
	int fd = open_group_file(group->name, "type", O_WRONLY);
	unsigned int left = 0;
	ssize_t len;
	int ret;

	if (fd < 0)
		return -errno;
	ret = read_state(group, &attempt->before) ?:
	      set_fault(faults, attempt->nth);
	if (!ret) {
		len = write(fd, type, strlen(type));
		attempt->error = len < 0 ? errno : 0;
		ret = get_fault(faults, &left) ?: set_fault(faults, 0);
		attempt->reached = !left;
	}
	close(fd);
	return ret ?: read_state(group, &attempt->after);
}

/* Whether a write ended in one of the two ways that there are */
static bool ended_well(const struct attempt *attempt,
		       const struct state *wanted)
{
	const struct state *after = &attempt->after;

	if (attempt->error)
		return attempt->reached &&
		       same_state(&attempt->before, after) &&
		       (attempt->error == ENOMEM ||
			attempt->error == ATTACH_ERROR);
	return same_state(after, wanted);
}

static bool is_looked_at(const struct attempt *attempt, int last_error)
{
	return getenv("GROUP_FAULTS_EACH") || !attempt->reached ||
	       attempt->nth <= FIRST_FAILURES ||
	       attempt->nth % EACH_FAILURES == 0 ||
	       attempt->error != last_error;
}

/* Whether it may be tried, and what comes of it; says why not */
static bool is_possible(const struct group *group, const char *from,
			const char *to, struct state *wanted)
{
	int error = begin(group, from, false) ?: write_type(group, to) ?:
		    read_state(group, wanted);

	if (error)
		ksft_print_msg("from %s to %s: %s\n", from, to,
			       strerror(error));
	return !error;
}

/* Returns how many attaches failed */
static unsigned int fail_each(struct __test_metadata *_metadata, int faults,
			      const struct group *group, const char *from,
			      const char *to, const struct state *wanted,
			      bool bound)
{
	unsigned int failed = 0, harmless = 0, attaches = 0;
	struct attempt attempt = { .reached = true };
	int last_error = 0;

	for (attempt.nth = 1; attempt.reached; attempt.nth++) {
		ASSERT_EQ(0, begin(group, from, bound));
		ASSERT_EQ(0, make_attempt(&attempt, group, to, faults));
		ASSERT_TRUE(ended_well(&attempt, wanted)) {
			TH_LOG("failure %u: %s, was %s (%s), is %s (%s)",
			       attempt.nth, strerror(attempt.error),
			       attempt.before.type, attempt.before.source,
			       attempt.after.type, attempt.after.source);
		}
		if (is_looked_at(&attempt, last_error))
			ASSERT_TRUE(all_dma_works(group, attempt.after.type,
						  bound)) {
				TH_LOG("after failure %u: %s", attempt.nth,
				       strerror(attempt.error));
			}
		failed += attempt.reached;
		harmless += attempt.reached && !attempt.error;
		attaches += attempt.error == ATTACH_ERROR;
		last_error = attempt.error;
	}
	ksft_print_msg("%u failures of %u devices%s from %s to %s, %u attaches, %u harmless\n",
		       failed, group->nr_devices, bound ? " in use" : "", from,
		       to, attaches, harmless);
	return attaches;
}

/*
 * Where the domain is another one, each device is attached to it, and each of
 * these attaches has to fail. An allocation that only one attempt makes, as a
 * debug kernel's own, moves what is failed by one: an attach can be failed
 * twice, or be passed over. In that case all is failed once more.
 */
static void fail_change(struct __test_metadata *_metadata, int faults,
			const struct group *group, const char *from,
			const char *to, const struct state *wanted, bool bound)
{
	bool moves = !strcmp(from, "identity") || !strcmp(to, "identity");
	unsigned int expected = moves ? group->nr_devices : 0;
	unsigned int attaches;
	int round = 0;

	do {
		attaches = fail_each(_metadata, faults, group, from, to, wanted,
				     bound);
	} while (attaches < expected && ++round < ROUNDS);
	EXPECT_LE(expected, attaches);
}

TEST_F_TIMEOUT(group_faults, one_device, SECONDS)
{
	struct state wanted;

	if (!single.name[0])
		SKIP(return, "no edu device is alone in its group");
	if (!is_possible(&single, variant->from, variant->to, &wanted))
		SKIP(return, "this group cannot be changed so");
	fail_change(_metadata, self->faults, &single, variant->from,
		    variant->to, &wanted, variant->bound);
}

TEST_F_TIMEOUT(group_faults, two_devices, SECONDS)
{
	struct state wanted;

	if (!pair.name[0])
		SKIP(return, "no two edu devices share a group");
	if (!is_possible(&pair, variant->from, variant->to, &wanted))
		SKIP(return, "this group cannot be changed so");
	fail_change(_metadata, self->faults, &pair, variant->from, variant->to,
		    &wanted, variant->bound);
}

int main(int argc, char **argv)
{
	find_groups();
	remember_faults();
	/* Here and not in a teardown, which a test that is killed has not */
	atexit(give_back_groups);
	atexit(give_back_faults);
	return test_harness_run(argc, argv);
}
