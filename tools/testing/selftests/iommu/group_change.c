// SPDX-License-Identifier: GPL-2.0-only
/*
 * Changes of an IOMMU group's default domain type: what the file type takes,
 * from whom and when, what is there afterwards, and who hears of it.
 *
 * Works on idle groups, whose devices have no driver, and gives them back as
 * the kernel would have made them, or as they were chosen. One test removes a
 * device and lets it be found again: one of QEMU's "edu" devices, or the PCI
 * device that GROUP_CHANGE_DEVICE names, which has to be alone in its group.
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
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/capability.h>

#include "../kselftest_harness.h"
#include "group_files.h"
#include "pci_device.h"
#include "sysfs_line.h"
#include "uevents.h"

/* Only a test that hangs takes that long */
#define SECONDS		300

/* How often the file is written while it is read */
#define WRITES		40

#define TRACEFS		"/sys/kernel/tracing"
#define TRACE		TRACEFS "/instances/group_change"
#define TRACE_EVENT	"iommu_group_type"

static const char * const types[] = { "identity", "DMA", "DMA-FQ", NULL };

struct state {
	char type[NAME_SIZE];
	char source[NAME_SIZE];
};

struct group {
	char name[NAME_SIZE];
	/* One of its devices */
	char device[NAME_SIZE];
	unsigned int nr_devices;
	/* What it had before, to be given back */
	struct state before;
};

/* With one device and with more; without a name there is none */
static struct group single, several;
/* A driver of the kernel does DMA there */
static struct group used;
/* May be removed */
static struct device removable;

/* Groups */

static int read_state(const char *group, struct state *state)
{
	return read_group_file(group, "type", state->type, NAME_SIZE) ?:
	       read_group_file(group, "type_source", state->source, NAME_SIZE);
}

static bool same_state(const struct state *a, const struct state *b)
{
	return !strcmp(a->type, b->type) && !strcmp(a->source, b->source);
}

static int write_type(const struct group *group, const char *type)
{
	return write_group_type(group->name, type, strlen(type));
}

static void group_path(char path[PATH_MAX], const struct group *group,
		       const char *file)
{
	snprintf(path, PATH_MAX, GROUPS "/%s/devices/%s/%s", group->name,
		 group->device, file);
}

/* The driver of a device of a group; empty without one */
static void read_driver(const struct group *group, char driver[NAME_SIZE])
{
	char path[PATH_MAX], target[PATH_MAX];
	ssize_t len;

	group_path(path, group, "driver");
	len = readlink(path, target, sizeof(target) - 1);
	target[len < 0 ? 0 : len] = '\0';
	snprintf(driver, NAME_SIZE, "%.*s", NAME_MAX,
		 len < 0 ? "" : basename(target));
}

/* Drivers that leave DMA to somebody else do not use the default domain */
static bool uses_default_domain(const char *driver)
{
	return driver[0] && strcmp(driver, "pcieport") &&
	       strcmp(driver, "pci-stub") && strncmp(driver, "vfio", 4);
}

/* Look at all devices of a group and keep it, if it can be used for a test */
static void sort_group(struct group *group)
{
	char path[PATH_MAX], driver[NAME_SIZE];
	struct dirent *entry;
	bool is_used = false;
	bool idle = true;
	DIR *dir;

	if (read_state(group->name, &group->before) ||
	    !one_of(group->before.type, types) ||
	    !strcmp(group->before.source, "untrusted") ||
	    !strcmp(group->before.source, "driver"))
		return;
	snprintf(path, sizeof(path), GROUPS "/%s/devices", group->name);
	dir = opendir(path);
	if (!dir)
		return;
	while ((entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(group->device, NAME_SIZE, "%s", entry->d_name);
		group->nr_devices++;
		read_driver(group, driver);
		idle &= !driver[0];
		is_used |= uses_default_domain(driver);
	}
	closedir(dir);

	/* The last ones: the first are more likely to be the chipset's */
	if (is_used)
		used = *group;
	else if (idle && group->nr_devices == 1)
		single = *group;
	else if (idle && group->nr_devices > 1)
		several = *group;
}

static void find_groups(void)
{
	struct dirent **entries;
	int nr = scandir(GROUPS, &entries, NULL, versionsort);

	for (int i = 0; i < nr; i++) {
		struct group group = { };

		snprintf(group.name, NAME_SIZE, "%s", entries[i]->d_name);
		if (entries[i]->d_name[0] != '.')
			sort_group(&group);
		free(entries[i]);
	}
	if (nr >= 0)
		free(entries);
}

static bool may_be_removed(const char *address)
{
	struct device device;
	char path[PATH_MAX], line[NAME_SIZE];

	snprintf(device.address, NAME_SIZE, "%s", address);
	device_path(path, address, "iommu_group/devices");
	return only_entry(path, line) && is_bound_to(&device, "");
}

static void find_removable(void)
{
	char *named = getenv("GROUP_CHANGE_DEVICE");
	struct dirent **entries;
	int nr;

	if (named) {
		if (may_be_removed(named))
			snprintf(removable.address, NAME_SIZE, "%s", named);
		return;
	}
	nr = scandir(PCI_DEVICES, &entries, NULL, alphasort);
	for (int i = 0; i < nr; i++) {
		if (!removable.address[0] && is_edu(entries[i]->d_name) &&
		    may_be_removed(entries[i]->d_name))
			snprintf(removable.address, NAME_SIZE, "%s",
				 entries[i]->d_name);
		free(entries[i]);
	}
	if (nr >= 0)
		free(entries);
}

static void give_back_group(const struct group *group)
{
	struct state now;

	if (!group->name[0] || read_state(group->name, &now) ||
	    same_state(&now, &group->before))
		return;
	if (!strcmp(group->before.source, "sysfs"))
		write_type(group, group->before.type);
	else
		write_type(group, "auto");
	if (read_state(group->name, &now) ||
	    strcmp(now.type, group->before.type))
		ksft_print_msg("group %s is not %s again\n", group->name,
			       group->before.type);
}

/* Called once, however the tests end */
static void give_back_groups(void)
{
	give_back_group(&single);
	give_back_group(&several);
	give_back_group(&used);
}

/* Events */

/*
 * Reads what has been sent of a group since the last call, and keeps the last
 * one. The kernel sends events in order, so one that a device of the group is
 * made to send comes after them. Returns their number, or a negative errno.
 */
static int group_events(int fd, const struct group *group, struct uevent *last)
{
	char path[PATH_MAX], end[PATH_MAX], ours[PATH_MAX];
	struct uevent event;
	int nr = 0;

	snprintf(ours, sizeof(ours), "/kernel/iommu_groups/%s", group->name);
	group_path(path, group, "");
	if (!realpath(path, end))
		return -errno;
	group_path(path, group, "uevent");
	if (write_line(path, "change"))
		return -errno;
	/* DEVPATH begins where sysfs does */
	do {
		if (uevents_next(fd, &event))
			return -errno;
		if (strstr(event.text, ours) &&
		    !strcmp(strstr(event.text, ours), ours)) {
			*last = event;
			nr++;
		}
	} while (!uevent_is(&event, "change", end + strlen("/sys")));
	return nr;
}

/* Whether an event says what the files say */
static bool event_says(const struct uevent *event, const struct state *state)
{
	const char *type = uevent_value(event, "IOMMU_GROUP_TYPE");
	const char *source = uevent_value(event, "IOMMU_GROUP_TYPE_SOURCE");

	return !strncmp(event->text, "change@", strlen("change@")) &&
	       type && !strcmp(type, state->type) &&
	       source && !strcmp(source, state->source);
}

/* The tracepoint, in a buffer of our own */

/* Begins with nothing in it. Returns why it cannot be watched, or NULL */
static const char *start_trace(void)
{
	int fd;

	if (mkdir(TRACE, 0700) && errno != EEXIST)
		return "no " TRACEFS ", or no buffers of one's own there";
	if (write_line(TRACE "/events/iommu/" TRACE_EVENT "/enable", "1"))
		return "this kernel has no such tracepoint";
	fd = open(TRACE "/trace", O_WRONLY | O_TRUNC);
	if (fd < 0)
		return "the trace cannot be emptied";
	close(fd);
	return NULL;
}

static void stop_trace(void)
{
	rmdir(TRACE);
}

/*
 * The next line about a group, from "requested" on. Returns false after the
 * last.
 */
static bool next_traced(FILE *trace, const struct group *group,
			char line[NAME_SIZE])
{
	char ours[NAME_SIZE + 64], *at;

	snprintf(ours, sizeof(ours), TRACE_EVENT ": group=%s ", group->name);
	while (fgets(line, NAME_SIZE, trace)) {
		at = strstr(line, ours);
		if (!at)
			continue;
		line[strcspn(line, "\n")] = '\0';
		at += strlen(ours);
		memmove(line, at, strlen(at) + 1);
		return true;
	}
	return false;
}

/* What a write that ended like this leaves in the trace */
static void trace_line(char line[NAME_SIZE], const char *requested,
		       const struct state *old, const struct state *new,
		       int result)
{
	snprintf(line, NAME_SIZE,
		 "requested=%.32s old=%.32s new=%.32s source=%.32s result=%d",
		 requested, old->type, new->type, new->source, result);
}

FIXTURE(group_change)
{
	struct state before;
	int events;
};

FIXTURE_VARIANT(group_change)
{
	const struct group *group;
	const char *missing;
};

FIXTURE_VARIANT_ADD(group_change, one_device)
{
	.group = &single,
	.missing = "no idle group with one device",
};

FIXTURE_VARIANT_ADD(group_change, several_devices)
{
	.group = &several,
	.missing = "no idle group with several devices",
};

FIXTURE_SETUP(group_change)
{
	self->events = -1;
	if (geteuid())
		SKIP(return, "needs root");
	if (!variant->group->name[0])
		SKIP(return, "%s", variant->missing);
	ASSERT_EQ(0, write_type(variant->group, "auto"));
	ASSERT_EQ(0, read_state(variant->group->name, &self->before));
	self->events = uevents_listen();
	ASSERT_LE(0, self->events);
}

FIXTURE_TEARDOWN(group_change)
{
	if (self->events >= 0)
		close(self->events);
}

/* Another type than the group has now, which every group can have */
static const char *other_type(const struct state *state)
{
	return strcmp(state->type, "identity") ? "identity" : "DMA";
}

/* Whether the files say this; what they say is told if they do not */
static bool state_is(const struct group *group, const struct state *state)
{
	struct state now = { };

	if (!read_state(group->name, &now) && same_state(&now, state))
		return true;
	ksft_print_msg("group %s is %s (%s), and not %s (%s)\n", group->name,
		       now.type, now.source, state->type, state->source);
	return false;
}

/* Whether there was no event of a group */
static bool was_silent(int fd, const struct group *group)
{
	struct uevent last;
	int nr = group_events(fd, group, &last);

	if (nr)
		ksft_print_msg("%d events of group %s\n", nr, group->name);
	return !nr;
}

/* Whether there was one event of a group, which says what its files say */
static bool was_said(int fd, const struct group *group)
{
	struct uevent last;
	struct state now;
	int nr = group_events(fd, group, &last);

	if (nr != 1)
		ksft_print_msg("%d events of group %s\n", nr, group->name);
	return nr == 1 && !read_state(group->name, &now) &&
	       event_says(&last, &now);
}

/* Each type from each, with a newline and without */
TEST_F_TIMEOUT(group_change, every_value, SECONDS)
{
	const struct group *group = variant->group;
	struct state before, after;
	unsigned int changes = 0;
	char line[NAME_SIZE];
	int error;

	for (unsigned int i = 0; types[i]; i++) {
		for (unsigned int j = 0; types[j]; j++) {
			for (unsigned int newline = 0; newline < 2; newline++) {
				/* One that the group cannot have is refused */
				write_type(group, types[i]);
				ASSERT_EQ(0, read_state(group->name, &before));
				EXPECT_LE(0, group_events(self->events, group,
							  &(struct uevent){ }));
				snprintf(line, sizeof(line), "%s%s", types[j],
					 newline ? "\n" : "");
				error = write_type(group, line);
				ASSERT_EQ(0, read_state(group->name, &after));
				if (error) {
					EXPECT_EQ(EINVAL, error);
					EXPECT_TRUE(same_state(&before, &after));
					EXPECT_TRUE(was_silent(self->events, group));
					continue;
				}
				EXPECT_STREQ(types[j], after.type);
				if (!strcmp(before.type, after.type)) {
					EXPECT_TRUE(same_state(&before, &after));
					EXPECT_TRUE(was_silent(self->events, group));
					continue;
				}
				EXPECT_STREQ("sysfs", after.source);
				EXPECT_TRUE(was_said(self->events, group));
				changes++;
			}
		}
	}
	/* Identity and one of the other types at least, and back */
	EXPECT_LE(4, changes);
}

TEST_F_TIMEOUT(group_change, auto_is_as_before, SECONDS)
{
	const struct group *group = variant->group;

	ASSERT_EQ(0, write_type(group, other_type(&self->before)));
	EXPECT_TRUE(was_said(self->events, group));
	ASSERT_EQ(0, write_type(group, "auto"));
	EXPECT_TRUE(state_is(group, &self->before));
	EXPECT_TRUE(was_said(self->events, group));
	ASSERT_EQ(0, write_type(group, "auto\n"));
	EXPECT_TRUE(state_is(group, &self->before));
	EXPECT_TRUE(was_silent(self->events, group));
}

/* A choice that is already there, but was not chosen, is none either */
TEST_F_TIMEOUT(group_change, same_value_is_no_change, SECONDS)
{
	const struct group *group = variant->group;
	struct state chosen;

	ASSERT_EQ(0, write_type(group, self->before.type));
	EXPECT_TRUE(state_is(group, &self->before));
	EXPECT_TRUE(was_silent(self->events, group));

	ASSERT_EQ(0, write_type(group, other_type(&self->before)));
	ASSERT_EQ(0, read_state(group->name, &chosen));
	EXPECT_TRUE(was_said(self->events, group));
	ASSERT_EQ(0, write_type(group, chosen.type));
	EXPECT_TRUE(state_is(group, &chosen));
	EXPECT_TRUE(was_silent(self->events, group));
}

TEST_F_TIMEOUT(group_change, nonsense_is_refused, SECONDS)
{
	static const struct {
		const char *text;
		size_t size;
	} nonsense[] = {
		{ "dma", 3 }, { "DMA ", 4 }, { " identity", 9 },
		{ "identity\n\n", 10 }, { "\nidentity", 9 }, { "DMA-FQ,", 7 },
		{ "auto auto", 9 }, { "blocked", 7 }, { "unmanaged", 9 },
		{ "\n", 1 }, { "0", 1 }, { "\0identity", 9 }, { "\0", 1 },
		{ "ident\0ity", 9 }, { "identit\xc3\xa4t", 10 },
	};
	const struct group *group = variant->group;

	for (unsigned int i = 0; i < ARRAY_SIZE(nonsense); i++) {
		EXPECT_EQ(EINVAL, write_group_type(group->name,
						   nonsense[i].text,
						   nonsense[i].size)) {
			TH_LOG("for %s", nonsense[i].text);
		}
	}
	EXPECT_TRUE(state_is(group, &self->before));
	EXPECT_TRUE(was_silent(self->events, group));
}

/* A C string may be written with its end; what is after that does not count */
TEST_F_TIMEOUT(group_change, value_ends_with_nul, SECONDS)
{
	const char *type = other_type(&self->before);
	const struct group *group = variant->group;
	char text[NAME_SIZE];
	struct state now;
	int len;

	ASSERT_EQ(0, write_group_type(group->name, type, strlen(type) + 1));
	ASSERT_EQ(0, read_state(group->name, &now));
	EXPECT_STREQ(type, now.type);
	EXPECT_TRUE(was_said(self->events, group));

	len = snprintf(text, sizeof(text), "auto%cidentity\n", '\0');
	ASSERT_EQ(0, write_group_type(group->name, text, len));
	EXPECT_TRUE(state_is(group, &self->before));
	EXPECT_TRUE(was_said(self->events, group));
}

TEST_F_TIMEOUT(group_change, empty_write_does_nothing, SECONDS)
{
	const struct group *group = variant->group;

	EXPECT_EQ(0, write_group_type(group->name, "", 0));
	EXPECT_TRUE(state_is(group, &self->before));
	EXPECT_TRUE(was_silent(self->events, group));
}

/* Nothing is taken from the beginning or the end of a text that is too long */
TEST_F_TIMEOUT(group_change, long_text_is_refused, SECONDS)
{
	static const size_t sizes[] = { 64, 4095, 4096, 4097, 8192 + 8, 70000 };
	const char *type = other_type(&self->before);
	const struct group *group = variant->group;
	char *text;
	int fd;

	fd = open_group_file(group->name, "type", O_WRONLY);
	ASSERT_LE(0, fd);
	for (unsigned int i = 0; i < ARRAY_SIZE(sizes); i++) {
		text = malloc(sizes[i]);
		ASSERT_NE(NULL, text);
		for (size_t at = 0; at < sizes[i]; at++)
			text[at] = type[at % strlen(type)];
		EXPECT_EQ(-1, write(fd, text, sizes[i]));
		EXPECT_EQ(EINVAL, errno);
		memset(text, ' ', sizes[i]);
		memcpy(text, type, strlen(type));
		EXPECT_EQ(-1, write(fd, text, sizes[i]));
		EXPECT_EQ(EINVAL, errno);
		free(text);
	}
	close(fd);
	EXPECT_TRUE(state_is(group, &self->before));
	EXPECT_TRUE(was_silent(self->events, group));
}

/* Take a capability away, or give it back; 0, or -1 with errno set */
static int set_capability(unsigned int number, bool on)
{
	struct __user_cap_header_struct header = {
		.version = _LINUX_CAPABILITY_VERSION_3,
	};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];
	__u32 bit = CAP_TO_MASK(number);

	if (syscall(SYS_capget, &header, data))
		return -1;
	if (on)
		data[CAP_TO_INDEX(number)].effective |= bit;
	else
		data[CAP_TO_INDEX(number)].effective &= ~bit;
	return syscall(SYS_capset, &header, data);
}

TEST_F_TIMEOUT(group_change, each_capability_is_needed, SECONDS)
{
	static const unsigned int numbers[] = { CAP_SYS_ADMIN, CAP_SYS_RAWIO };
	const char *type = other_type(&self->before);
	const struct group *group = variant->group;

	for (unsigned int i = 0; i < ARRAY_SIZE(numbers); i++) {
		ASSERT_EQ(0, set_capability(numbers[i], false));
		EXPECT_EQ(EACCES, write_type(group, type));
		EXPECT_EQ(EACCES, write_type(group, "auto"));
		/* Nor does it say whether the text would have been right */
		EXPECT_EQ(EACCES, write_type(group, "nonsense"));
		EXPECT_TRUE(state_is(group, &self->before));
		ASSERT_EQ(0, set_capability(numbers[i], true));
	}
	EXPECT_TRUE(was_silent(self->events, group));
	EXPECT_EQ(0, write_type(group, type));
	EXPECT_TRUE(was_said(self->events, group));
}

TEST_F_TIMEOUT(group_change, unprivileged_users_may_read, SECONDS)
{
	const char *type = other_type(&self->before);
	const struct group *group = variant->group;
	int fd;

	fd = open_group_file(group->name, "type", O_WRONLY);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, seteuid(65534));
	EXPECT_TRUE(state_is(group, &self->before));
	EXPECT_EQ(EACCES, write_type(group, type));
	/* A file that was opened by somebody who might does not help */
	EXPECT_EQ(-1, write(fd, type, strlen(type)));
	EXPECT_EQ(EACCES, errno);
	ASSERT_EQ(0, seteuid(0));
	close(fd);
	EXPECT_TRUE(state_is(group, &self->before));
	EXPECT_TRUE(was_silent(self->events, group));
}

/* Each write that could be understood leaves a line, and no other does */
TEST_F_TIMEOUT(group_change, is_traced, SECONDS)
{
	const char *type = other_type(&self->before);
	const struct group *group = variant->group;
	char expected[3][NAME_SIZE], line[NAME_SIZE];
	const char *reason = start_trace();
	struct state chosen;
	FILE *trace;

	if (reason)
		SKIP(return, "%s", reason);
	ASSERT_EQ(0, write_type(group, type));
	ASSERT_EQ(0, read_state(group->name, &chosen));
	ASSERT_EQ(EINVAL, write_type(group, "nonsense"));
	ASSERT_EQ(0, set_capability(CAP_SYS_RAWIO, false));
	ASSERT_EQ(EACCES, write_type(group, "auto"));
	ASSERT_EQ(0, set_capability(CAP_SYS_RAWIO, true));
	ASSERT_EQ(0, write_type(group, type));
	ASSERT_EQ(0, write_type(group, "auto"));
	trace_line(expected[0], type, &self->before, &chosen, 0);
	trace_line(expected[1], type, &chosen, &chosen, 0);
	trace_line(expected[2], "auto", &chosen, &self->before, 0);

	trace = fopen(TRACE "/trace", "r");
	ASSERT_NE(NULL, trace);
	for (unsigned int i = 0; i < ARRAY_SIZE(expected); i++) {
		ASSERT_TRUE(next_traced(trace, group, line));
		EXPECT_STREQ(expected[i], line);
	}
	EXPECT_FALSE(next_traced(trace, group, line));
	fclose(trace);
}

/* A reader never sees anything else than one of the types */
TEST_F_TIMEOUT(group_change, read_while_written, SECONDS)
{
	const char * const both[] = {
		self->before.type, other_type(&self->before), NULL
	};
	const struct group *group = variant->group;
	struct uevent last;
	struct state now;
	pid_t writer;
	int status;

	writer = fork();
	ASSERT_LE(0, writer);
	if (!writer) {
		for (unsigned int i = 0; i < WRITES; i++)
			if (write_type(group, both[(i + 1) % 2]))
				_exit(KSFT_FAIL);
		_exit(KSFT_PASS);
	}
	while (!waitpid(writer, &status, WNOHANG)) {
		ASSERT_EQ(0, read_state(group->name, &now));
		ASSERT_TRUE(one_of(now.type, both));
	}
	ASSERT_TRUE(WIFEXITED(status));
	EXPECT_EQ(KSFT_PASS, WEXITSTATUS(status));

	/* Each write was a change, and the last one's event came last */
	EXPECT_EQ(WRITES, group_events(self->events, group, &last));
	ASSERT_EQ(0, read_state(group->name, &now));
	EXPECT_STREQ(both[WRITES % 2], now.type);
	EXPECT_TRUE(event_says(&last, &now));
}

/* The same domain serves every device, or none of them */
TEST_F_TIMEOUT(group_change, two_writers, SECONDS)
{
	const struct group *group = variant->group;
	struct uevent last;
	pid_t writers[2];
	struct state now;
	int status;

	for (unsigned int i = 0; i < ARRAY_SIZE(writers); i++) {
		writers[i] = fork();
		ASSERT_LE(0, writers[i]);
		if (writers[i])
			continue;
		for (unsigned int j = 0; j < WRITES / 2; j++)
			if (write_type(group, types[(i + j) % 2]))
				_exit(KSFT_FAIL);
		_exit(KSFT_PASS);
	}
	for (unsigned int i = 0; i < ARRAY_SIZE(writers); i++) {
		ASSERT_EQ(writers[i], waitpid(writers[i], &status, 0));
		ASSERT_TRUE(WIFEXITED(status));
		EXPECT_EQ(KSFT_PASS, WEXITSTATUS(status));
	}
	/* How many were changes depends on who came first */
	EXPECT_LE(1, group_events(self->events, group, &last));
	ASSERT_EQ(0, read_state(group->name, &now));
	EXPECT_TRUE(event_says(&last, &now));
}

/* A group whose devices a driver of the kernel uses */
FIXTURE(group_in_use)
{
	struct state before;
	int events;
};

FIXTURE_SETUP(group_in_use)
{
	self->events = -1;
	if (geteuid())
		SKIP(return, "needs root");
	if (!used.name[0])
		SKIP(return, "no group with a driver that uses its domain");
	ASSERT_EQ(0, read_state(used.name, &self->before));
	self->events = uevents_listen();
	ASSERT_LE(0, self->events);
}

FIXTURE_TEARDOWN(group_in_use)
{
	if (self->events >= 0)
		close(self->events);
}

TEST_F_TIMEOUT(group_in_use, is_busy, SECONDS)
{
	char line[NAME_SIZE];

	snprintf(line, sizeof(line), "%s\n", other_type(&self->before));
	EXPECT_EQ(EPERM, write_type(&used, other_type(&self->before)));
	EXPECT_EQ(EPERM, write_type(&used, line));
	EXPECT_EQ(EINVAL, write_type(&used, "nonsense"));
	EXPECT_TRUE(state_is(&used, &self->before));
	EXPECT_TRUE(was_silent(self->events, &used));
}

TEST_F_TIMEOUT(group_in_use, is_traced, SECONDS)
{
	const char *type = other_type(&self->before);
	char expected[NAME_SIZE], line[NAME_SIZE];
	const char *reason = start_trace();
	FILE *trace;

	if (reason)
		SKIP(return, "%s", reason);
	ASSERT_EQ(EPERM, write_type(&used, type));
	trace_line(expected, type, &self->before, &self->before, -EPERM);
	trace = fopen(TRACE "/trace", "r");
	ASSERT_NE(NULL, trace);
	ASSERT_TRUE(next_traced(trace, &used, line));
	EXPECT_STREQ(expected, line);
	EXPECT_FALSE(next_traced(trace, &used, line));
	fclose(trace);
}

/* Only how flushes are done can be changed then, and back */
TEST_F_TIMEOUT(group_in_use, flushes_change, SECONDS)
{
	bool lazy = !strcmp(self->before.type, "DMA-FQ");
	const char *other = lazy ? "DMA" : "DMA-FQ";
	struct state now;
	int error;

	if (!strcmp(self->before.type, "identity"))
		SKIP(return, "the group in use is not translated");
	error = write_type(&used, other);
	if (!lazy && error == EINVAL)
		SKIP(return, "this IOMMU does not defer flushes");
	ASSERT_EQ(0, error);
	ASSERT_EQ(0, read_state(used.name, &now));
	EXPECT_STREQ(other, now.type);
	EXPECT_STREQ("sysfs", now.source);
	EXPECT_TRUE(was_said(self->events, &used));
	ASSERT_EQ(0, write_type(&used, self->before.type));
	ASSERT_EQ(0, read_state(used.name, &now));
	EXPECT_STREQ(self->before.type, now.type);
	EXPECT_TRUE(was_said(self->events, &used));
}

/* A group whose only device goes while its files are open */
FIXTURE(group_removed)
{
	char group[NAME_SIZE];
	int fd;
};

static void wait_for_path(const char *path, bool there)
{
	while (!access(path, F_OK) != there)
		usleep(10000);
}

/* The device is found again, and without a driver, as it was */
static int find_again(const struct device *device)
{
	char path[PATH_MAX];

	if (device_exists(device))
		return 0;
	if (write_line("/sys/bus/pci/rescan", "1"))
		return -1;
	device_path(path, device->address, "resource0");
	wait_for_path(path, true);
	return unbind_device(device);
}

FIXTURE_SETUP(group_removed)
{
	self->fd = -1;
	if (geteuid())
		SKIP(return, "needs root");
	if (!removable.address[0])
		SKIP(return, "no device alone in its group that may be removed");
	read_device_link(&removable, "iommu_group", self->group);
	self->fd = open_group_file(self->group, "type", O_RDWR);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(group_removed)
{
	close(self->fd);
	find_again(&removable);
}

TEST_F_TIMEOUT(group_removed, while_open, SECONDS)
{
	char path[PATH_MAX], text[NAME_SIZE];
	struct state now;

	snprintf(path, sizeof(path), GROUPS "/%s", self->group);
	ASSERT_LE(0, pread(self->fd, text, sizeof(text), 0));
	ASSERT_EQ(0, write_device_file(&removable, "remove", "1"));
	wait_for_path(path, false);
	EXPECT_EQ(-1, pread(self->fd, text, sizeof(text), 0));
	EXPECT_EQ(ENODEV, errno);
	EXPECT_EQ(-1, pwrite(self->fd, "DMA", 3, 0));
	EXPECT_EQ(ENODEV, errno);

	/* It comes back as a new group, which the old file is not of */
	ASSERT_EQ(0, find_again(&removable));
	EXPECT_EQ(-1, pwrite(self->fd, "DMA", 3, 0));
	EXPECT_EQ(ENODEV, errno);
	read_device_link(&removable, "iommu_group", text);
	if (!text[0])
		SKIP(return, "here a device joins its group with a driver");
	ASSERT_EQ(0, read_state(text, &now));
	EXPECT_STRNE("sysfs", now.source);
}

TEST_F_TIMEOUT(group_removed, while_written, SECONDS)
{
	int ready[2], status;
	pid_t writer;
	char byte;

	ASSERT_EQ(0, pipe(ready));
	writer = fork();
	ASSERT_LE(0, writer);
	if (!writer) {
		for (unsigned int i = 0; ; i++) {
			const char *type = types[i % 2];

			if (pwrite(self->fd, type, strlen(type), 0) < 0)
				_exit(errno);
			if (i == 1 && write(ready[1], "", 1) != 1)
				_exit(KSFT_FAIL);
		}
	}
	close(ready[1]);
	ASSERT_EQ(1, read(ready[0], &byte, 1));
	close(ready[0]);
	ASSERT_EQ(0, write_device_file(&removable, "remove", "1"));
	ASSERT_EQ(writer, waitpid(writer, &status, 0));
	ASSERT_TRUE(WIFEXITED(status));
	/* EPERM, EINVAL: the group was still there, and empty */
	if (WEXITSTATUS(status) != EPERM && WEXITSTATUS(status) != EINVAL)
		EXPECT_EQ(ENODEV, WEXITSTATUS(status));
	EXPECT_EQ(0, find_again(&removable));
}

int main(int argc, char **argv)
{
	find_groups();
	find_removable();
	/* Here and not in a teardown, which a test that is killed has not */
	atexit(give_back_groups);
	atexit(stop_trace);
	return test_harness_run(argc, argv);
}
