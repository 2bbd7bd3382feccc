/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * PCI devices of a test, bound to this driver and that one, and at the end to
 * what they had before.
 */
#ifndef PCI_DEVICE_H
#define PCI_DEVICE_H

#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "../kselftest.h"
#include "sysfs_line.h"

#define PCI_DEVICES	"/sys/bus/pci/devices"
#define PCI_DRIVERS	"/sys/bus/pci/drivers"

/* QEMU's "edu", whose DMA engine can be pointed at any address */
#define EDU_VENDOR	0x1234
#define EDU_DEVICE	0x11e8

struct device {
	char address[NAME_SIZE];
	/* What it had before, to be given back */
	char driver[NAME_SIZE];
	char override[NAME_SIZE];
};

static inline void device_path(char path[PATH_MAX], const char *address,
			       const char *file)
{
	snprintf(path, PATH_MAX, PCI_DEVICES "/%s/%s", address, file);
}

static inline bool device_exists(const struct device *device)
{
	char path[PATH_MAX];

	device_path(path, device->address, "");
	return !access(path, F_OK);
}

static inline int read_device_file(const struct device *device,
				   const char *file, char line[NAME_SIZE])
{
	char path[PATH_MAX];

	device_path(path, device->address, file);
	return read_line(path, line);
}

static inline int write_device_file(const struct device *device,
				    const char *file, const char *line)
{
	char path[PATH_MAX];

	device_path(path, device->address, file);
	return write_line(path, line);
}

/* The last part of what a link of a device points at; empty without one */
static inline void read_device_link(const struct device *device,
				    const char *link, char name[NAME_SIZE])
{
	char path[PATH_MAX], target[PATH_MAX];
	ssize_t len;

	device_path(path, device->address, link);
	len = readlink(path, target, sizeof(target) - 1);
	target[len < 0 ? 0 : len] = '\0';
	snprintf(name, NAME_SIZE, "%.*s", NAME_MAX,
		 len < 0 ? "" : basename(target));
}

/* The name of the only entry of a folder; false when there is not just one */
static inline bool only_entry(const char *path, char name[NAME_SIZE])
{
	struct dirent *entry;
	unsigned int nr = 0;
	DIR *dir;

	dir = opendir(path);
	if (!dir)
		return false;
	while ((entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(name, NAME_SIZE, "%s", entry->d_name);
		nr++;
	}
	closedir(dir);
	return nr == 1;
}

static inline bool is_edu(const char *address)
{
	char path[PATH_MAX], line[NAME_SIZE];

	device_path(path, address, "vendor");
	if (read_line(path, line) || strtoul(line, NULL, 0) != EDU_VENDOR)
		return false;
	device_path(path, address, "device");
	return !read_line(path, line) && strtoul(line, NULL, 0) == EDU_DEVICE;
}

/* Remember what a device is bound to before the first test */
static inline void remember_driver(struct device *device)
{
	read_device_link(device, "driver", device->driver);
	if (read_device_file(device, "driver_override", device->override) ||
	    !strcmp(device->override, "(null)"))
		device->override[0] = '\0';
}

static inline bool is_bound_to(const struct device *device, const char *driver)
{
	char name[NAME_SIZE];

	read_device_link(device, "driver", name);
	return !strcmp(name, driver);
}

/* Returns 0, or -1 with errno set; nothing to do is no error */
static inline int unbind_device(const struct device *device)
{
	if (is_bound_to(device, ""))
		return 0;
	return write_device_file(device, "driver/unbind", device->address);
}

/* Returns whether the device is then bound to this driver */
static inline bool bind_device(const struct device *device, const char *driver)
{
	if (is_bound_to(device, driver))
		return true;
	if (write_device_file(device, "driver_override", driver) ||
	    unbind_device(device) ||
	    write_line("/sys/bus/pci/drivers_probe", device->address))
		return false;
	return is_bound_to(device, driver);
}

/* Called once, however the tests end */
static inline void give_back_driver(const struct device *device)
{
	char path[PATH_MAX], override[NAME_SIZE + 1];

	if (!device_exists(device))
		return;
	/* Also after a bind that failed, and before another driver's */
	snprintf(override, sizeof(override), "%s\n", device->override);
	write_device_file(device, "driver_override", override);
	if (is_bound_to(device, device->driver))
		return;
	unbind_device(device);
	if (!device->driver[0])
		return;
	snprintf(path, sizeof(path), PCI_DRIVERS "/%s/bind", device->driver);
	if (write_line(path, device->address))
		ksft_print_msg("%s is not bound to %s again: %m\n",
			       device->address, device->driver);
}

#endif /* PCI_DEVICE_H */
