// SPDX-License-Identifier: GPL-2.0-only
/*
 * The user interface of an IOMMU group's default domain type: the files type
 * and type_source of every group of this machine.
 *
 * Changes no group for longer than a test, and no group that is in use.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#include "../kselftest_harness.h"
#include "group_files.h"

FIXTURE(groups)
{
	DIR *dir;
};

/* A machine without groups must not look as if all was well */
FIXTURE_SETUP(groups)
{
	self->dir = opendir(GROUPS);
	if (!self->dir)
		SKIP(return, "no " GROUPS ": this kernel has no IOMMU groups");
	if (!next_group(self->dir))
		SKIP(return, "this machine has no IOMMU group");
	rewinddir(self->dir);
}

FIXTURE_TEARDOWN(groups)
{
	if (self->dir)
		closedir(self->dir);
}

TEST_F(groups, words)
{
	static const char * const types[] = {
		"identity", "DMA", "DMA-FQ", "blocked", "unmanaged", "unknown",
		NULL
	};
	static const char * const sources[] = {
		"untrusted", "driver", "parameter", "quirk", "default",
		"fallback", "sysfs", "unknown", NULL
	};
	char type[64], source[64];
	const char *group;

	while ((group = next_group(self->dir))) {
		ASSERT_EQ(0, read_group_file(group, "type", type, sizeof(type)));
		ASSERT_EQ(0, read_group_file(group, "type_source", source,
					     sizeof(source)));
		TH_LOG("group %s: %s (%s)", group, type, source);
		EXPECT_TRUE(one_of(type, types));
		EXPECT_TRUE(one_of(source, sources));
		/* Without a default domain there is no reason for its type */
		if (!strcmp(type, "unknown"))
			EXPECT_STREQ("unknown", source);
	}
}

TEST_F(groups, source_is_read_only)
{
	const char *group = next_group(self->dir);
	char path[PATH_MAX];
	int fd;

	snprintf(path, sizeof(path), GROUPS "/%s/type_source", group);
	fd = open(path, O_WRONLY);
	if (fd >= 0) {
		/* Root may open it all the same, but there is nothing to do */
		EXPECT_EQ(-1, write(fd, "sysfs", 5));
		close(fd);
	} else {
		EXPECT_EQ(EACCES, errno);
	}
}

TEST_F(groups, nonsense_is_refused)
{
	static const struct {
		const char *text;
		size_t size;
	} nonsense[] = {
		{ "dma", 3 }, { "DMA ", 4 }, { " DMA", 4 }, { "DMA\n\n", 5 },
		{ "DMA-FQX", 7 }, { "passthrough\n", 12 }, { "\n", 1 },
		{ "0", 1 }, { "Identity", 8 },
	};
	char type[64], source[64], after[64];
	const char *group;

	if (geteuid())
		SKIP(return, "needs root");
	while ((group = next_group(self->dir))) {
		ASSERT_EQ(0, read_group_file(group, "type", type, sizeof(type)));
		if (!strcmp(type, "unknown"))
			continue;
		ASSERT_EQ(0, read_group_file(group, "type_source", source,
					     sizeof(source)));
		for (size_t i = 0; i < ARRAY_SIZE(nonsense); i++)
			EXPECT_EQ(EINVAL,
				  write_group_type(group, nonsense[i].text,
						   nonsense[i].size));
		ASSERT_EQ(0, read_group_file(group, "type", after,
					     sizeof(after)));
		EXPECT_STREQ(type, after);
		ASSERT_EQ(0, read_group_file(group, "type_source", after,
					     sizeof(after)));
		EXPECT_STREQ(source, after);
	}
}

/* Writing back what is set may be refused, but never counts as a choice */
TEST_F(groups, same_type_keeps_source)
{
	char type[64], source[64], after[64];
	const char *group;
	int error;

	if (geteuid())
		SKIP(return, "needs root");
	while ((group = next_group(self->dir))) {
		ASSERT_EQ(0, read_group_file(group, "type", type, sizeof(type)));
		ASSERT_EQ(0, read_group_file(group, "type_source", source,
					     sizeof(source)));
		if (!strcmp(type, "unknown"))
			continue;
		error = write_group_type(group, type, strlen(type));
		if (error)
			EXPECT_EQ(EPERM, error);
		ASSERT_EQ(0, read_group_file(group, "type", after,
					     sizeof(after)));
		EXPECT_STREQ(type, after);
		ASSERT_EQ(0, read_group_file(group, "type_source", after,
					     sizeof(after)));
		EXPECT_STREQ(source, after);
	}
}

TEST_F(groups, unprivileged_writes_are_refused)
{
	const char *group = next_group(self->dir);
	int fd;

	if (geteuid())
		SKIP(return, "needs root, to give it up");
	fd = open_group_file(group, "type", O_WRONLY);
	ASSERT_LE(0, fd);
	/* The capability is asked for when writing, not when opening */
	ASSERT_EQ(0, seteuid(65534));
	EXPECT_EQ(-1, write(fd, "auto", 4));
	EXPECT_EQ(EACCES, errno);
	EXPECT_EQ(-1, open_group_file(group, "type", O_WRONLY));
	EXPECT_EQ(EACCES, errno);
	ASSERT_EQ(0, seteuid(0));
	close(fd);
}

TEST_HARNESS_MAIN
