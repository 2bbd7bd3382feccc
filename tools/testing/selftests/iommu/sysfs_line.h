/* SPDX-License-Identifier: GPL-2.0-only */
/* Files that hold one line, as most of sysfs and debugfs do */
#ifndef SYSFS_LINE_H
#define SYSFS_LINE_H

#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

/* Names of devices and drivers, and lines of sysfs */
#define NAME_SIZE	(NAME_MAX + 1)

/* Without the newline. Returns 0, or -1 with errno set */
static inline int read_line(const char *path, char line[NAME_SIZE])
{
	int fd = open(path, O_RDONLY);
	ssize_t len;

	if (fd < 0)
		return -1;
	len = read(fd, line, NAME_SIZE - 1);
	close(fd);
	if (len < 0)
		return -1;
	line[len] = '\0';
	line[strcspn(line, "\n")] = '\0';
	return 0;
}

/* Returns 0, or -1 with errno set */
static inline int write_line(const char *path, const char *line)
{
	int fd = open(path, O_WRONLY);
	ssize_t len;

	if (fd < 0)
		return -1;
	len = write(fd, line, strlen(line));
	close(fd);
	return len < 0 ? -1 : 0;
}

#endif /* SYSFS_LINE_H */
