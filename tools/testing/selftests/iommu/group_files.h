/* SPDX-License-Identifier: GPL-2.0-only */
/* The files of IOMMU groups in sysfs */
#ifndef GROUP_FILES_H
#define GROUP_FILES_H

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define GROUPS	"/sys/kernel/iommu_groups"

static inline int open_group_file(const char *group, const char *file,
				  int flags)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), GROUPS "/%s/%s", group, file);
	return open(path, flags);
}

/* Reads one line without its newline; -1 with errno when it cannot */
static inline int read_group_file(const char *group, const char *file,
				  char *buf, size_t size)
{
	int fd = open_group_file(group, file, O_RDONLY);
	ssize_t len;

	if (fd < 0)
		return -1;
	len = read(fd, buf, size - 1);
	close(fd);
	if (len <= 0 || buf[len - 1] != '\n')
		return -1;
	buf[len - 1] = '\0';
	return 0;
}

/* Returns 0 or the errno of the write; EIO if that took only a part */
static inline int write_group_type(const char *group, const char *text,
				   size_t size)
{
	int fd = open_group_file(group, "type", O_WRONLY);
	int error = 0;
	ssize_t len;

	if (fd < 0)
		return errno;
	len = write(fd, text, size);
	if (len != (ssize_t)size)
		error = len < 0 ? errno : EIO;
	close(fd);
	return error;
}

static inline bool one_of(const char *word, const char * const words[])
{
	for (int i = 0; words[i]; i++)
		if (!strcmp(word, words[i]))
			return true;
	return false;
}

/* The next group's name, or NULL after the last */
static inline const char *next_group(DIR *dir)
{
	struct dirent *entry;

	do {
		entry = readdir(dir);
	} while (entry && entry->d_name[0] == '.');
	return entry ? entry->d_name : NULL;
}

#endif /* GROUP_FILES_H */
