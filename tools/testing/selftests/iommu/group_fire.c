// SPDX-License-Identifier: GPL-2.0-only
/*
 * Everything at once that can meet a change of an IOMMU group's type.
 *
 * Three tasks take turns with nobody: one writes types, one binds drivers to
 * the devices and takes them away, one opens and closes the devices through
 * VFIO. Who runs the program may plug and unplug devices meanwhile. What one
 * does makes the others fail, with an error that says so; that is no failure
 * of the test. A wrong error is one, and so are data in a wrong place; what the
 * kernel's log says, and what is left behind, is looked at by whoever can.
 *
 * The devices are QEMU's "edu" devices, all that there are at the time. Needs
 * the modules edu_dma_test and edu_managed_test. GROUP_FIRE_SEED makes a run
 * again as far as that can be, GROUP_FIRE_OPERATIONS says how many operations
 * the tasks do together.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/iommufd.h>
#include <linux/vfio.h>

#include "../kselftest.h"
#include "group_files.h"
#include "pci_device.h"
#include "sysfs_line.h"

#define DEFAULT_OPERATIONS	300

#define DMA_DRIVER	"edu_dma_test"
#define MANAGED_DRIVER	"edu_managed_test"
#define EDU_FILES	"/sys/kernel/debug/" DMA_DRIVER
#define REFUSE		"/sys/module/" MANAGED_DRIVER "/parameters/refuse"

/* What the victim page of edu_dma_test has before anything was written there */
#define VICTIM_VALUE	0x756e746f75636865ULL

/* In the reach of a device with 28 bits */
#define IOVA		0x4000000

enum result {
	DONE,
	REFUSED,
	WRONG,
};

struct task {
	const char *name;
	/* One operation on a device, with an error when it is refused */
	enum result (*operate)(const struct device *device, int *error);
	/* What may be the answer when somebody else was there first */
	const int *errors;
};

static unsigned int random_state;

static unsigned int random_below(unsigned int end)
{
	return rand_r(&random_state) % end;
}

/* Returns false if there is none at the moment */
static bool random_device(struct device *device)
{
	struct dirent **entries;
	unsigned int seen = 0;
	int nr;

	nr = scandir(PCI_DEVICES, &entries, NULL, alphasort);
	for (int i = 0; i < nr; i++) {
		/* Each of them has the same chance to be the one that is kept */
		if (is_edu(entries[i]->d_name) && !random_below(++seen))
			snprintf(device->address, NAME_SIZE, "%s",
				 entries[i]->d_name);
		free(entries[i]);
	}
	if (nr >= 0)
		free(entries);
	return seen;
}

/* Types */

static const char * const words[] = {
	"identity", "DMA", "DMA-FQ", "auto", "identity\n", "DMA\n", NULL
};

static const char * const types[] = { "identity", "DMA", "DMA-FQ", NULL };

/* EINVAL: a domain that this IOMMU does not have. ENOENT, ENODEV: unplugged */
static const int type_errors[] = { EPERM, EINVAL, ENODEV, ENOENT, 0 };

/* VFIO can still hold a group that its last device has left */
static bool has_devices(const char *group)
{
	char path[PATH_MAX];
	struct dirent *entry;
	bool found = false;
	DIR *dir;

	snprintf(path, sizeof(path), GROUPS "/%s/devices", group);
	dir = opendir(path);
	while (dir && (entry = readdir(dir)))
		found |= entry->d_name[0] != '.';
	if (dir)
		closedir(dir);
	return found;
}

static enum result write_one_type(const struct device *device, int *error)
{
	const char *word = words[random_below(ARRAY_SIZE(words) - 1)];
	char group[NAME_SIZE], type[NAME_SIZE];

	read_device_link(device, "iommu_group", group);
	if (!group[0]) {
		*error = ENOENT;
		return REFUSED;
	}
	*error = write_group_type(group, word, strlen(word));
	/* Without a group there is nothing to read either */
	if (read_group_file(group, "type", type, sizeof(type)) ||
	    one_of(type, types) ||
	    (!strcmp(type, "unknown") && !has_devices(group)))
		return *error ? REFUSED : DONE;
	ksft_print_msg("group %s has the type %s\n", group, type);
	return WRONG;
}

/* Drivers */

/*
 * EIO: probing is made to fail. EBUSY: the other task has just bound or opened
 * it. EINVAL, EPERM: the group belongs to user space.
 */
static const int driver_errors[] = {
	EIO, EBUSY, EINVAL, EPERM, ENODEV, ENOENT, 0
};

/* DMA arrives, unless the driver was taken away meanwhile */
static enum result do_dma(const struct device *device, int *error)
{
	unsigned long long wanted = 0x600d000000000000ULL + rand_r(&random_state);
	char path[PATH_MAX], line[NAME_SIZE];
	unsigned long long value;

	snprintf(path, sizeof(path), EDU_FILES "/%s/dma_stream",
		 device->address);
	snprintf(line, sizeof(line), "%#llx", wanted);
	if (write_line(path, line)) {
		*error = errno;
		return REFUSED;
	}
	snprintf(path, sizeof(path), EDU_FILES "/%s/victim_value",
		 device->address);
	if (read_line(path, line)) {
		*error = errno;
		return REFUSED;
	}
	/* It may have been bound anew */
	value = strtoull(line, NULL, 16);
	if (value == wanted || value == VICTIM_VALUE)
		return DONE;
	ksft_print_msg("%s wrote %#llx, and %#llx is there\n", device->address,
		       wanted, value);
	return WRONG;
}

static enum result change_driver(const struct device *device, int *error)
{
	unsigned int what = random_below(8);
	const char *driver = what & 1 ? DMA_DRIVER : MANAGED_DRIVER;
	bool done;

	errno = 0;
	if (what < 2) {
		done = !unbind_device(device);
	} else {
		write_line(REFUSE, what < 4 ? "Y" : "N");
		done = bind_device(device, driver);
	}
	*error = errno ?: EIO;
	if (!done)
		return REFUSED;
	return what == 7 ? do_dma(device, error) : DONE;
}

/* VFIO */

/*
 * As above. ENXIO, ENOTTY, EACCES: the device, or another of its group, was
 * bound to a driver of the kernel meanwhile.
 */
static const int vfio_errors[] = {
	EBUSY, EINVAL, EPERM, ENODEV, ENOENT, ENXIO, ENOTTY, EACCES, EIO, 0
};

static void *page;

/*
 * What opened the device for use. vfio-pci resets it then, and gives up with
 * EAGAIN when somebody else holds the device's lock.
 */
static int opened(int result)
{
	if (result < 0 && errno == EAGAIN)
		errno = EBUSY;
	return result;
}

static int open_container(const struct device *device, int *group_fd)
{
	char path[PATH_MAX], group[NAME_SIZE];
	int container, fd = -1;

	read_device_link(device, "iommu_group", group);
	if (!group[0]) {
		errno = ENOENT;
		return -1;
	}
	snprintf(path, sizeof(path), "/dev/vfio/%s", group);
	*group_fd = open(path, O_RDWR | O_CLOEXEC);
	if (*group_fd < 0)
		return -1;
	container = open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC);
	if (container >= 0 &&
	    !ioctl(*group_fd, VFIO_GROUP_SET_CONTAINER, &container)) {
		struct vfio_iommu_type1_dma_map map = {
			.argsz = sizeof(map),
			.flags = VFIO_DMA_MAP_FLAG_READ |
				 VFIO_DMA_MAP_FLAG_WRITE,
			.vaddr = (uintptr_t)page,
			.iova = IOVA,
			.size = sysconf(_SC_PAGESIZE),
		};

		if (!ioctl(container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU) &&
		    !ioctl(container, VFIO_IOMMU_MAP_DMA, &map))
			fd = opened(ioctl(*group_fd, VFIO_GROUP_GET_DEVICE_FD,
					  device->address));
	}
	/* The group keeps it */
	if (container >= 0) {
		int error = errno;

		close(container);
		errno = error;
	}
	return fd;
}

static int attach_ioas(int fd, int iommufd)
{
	struct vfio_device_bind_iommufd bind = {
		.argsz = sizeof(bind),
		.iommufd = iommufd,
	};
	struct iommu_ioas_alloc alloc = { .size = sizeof(alloc) };
	struct iommu_ioas_map map = {
		.size = sizeof(map),
		.flags = IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_READABLE |
			 IOMMU_IOAS_MAP_WRITEABLE,
		.user_va = (uintptr_t)page,
		.iova = IOVA,
		.length = sysconf(_SC_PAGESIZE),
	};
	struct vfio_device_attach_iommufd_pt attach = {
		.argsz = sizeof(attach),
	};

	if (opened(ioctl(fd, VFIO_DEVICE_BIND_IOMMUFD, &bind)) ||
	    ioctl(iommufd, IOMMU_IOAS_ALLOC, &alloc))
		return -1;
	map.ioas_id = alloc.out_ioas_id;
	attach.pt_id = alloc.out_ioas_id;
	return ioctl(iommufd, IOMMU_IOAS_MAP, &map) ?:
	       ioctl(fd, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &attach);
}

static int open_cdev(const struct device *device, int *iommufd)
{
	char path[PATH_MAX], name[NAME_SIZE];
	int fd;

	*iommufd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	if (*iommufd < 0)
		return -1;
	device_path(path, device->address, "vfio-dev");
	if (!only_entry(path, name)) {
		errno = ENOENT;
		return -1;
	}
	snprintf(path, sizeof(path), "/dev/vfio/devices/%s", name);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd >= 0 && attach_ioas(fd, *iommufd)) {
		int error = errno;

		close(fd);
		errno = error;
		return -1;
	}
	return fd;
}

/* Everything is closed again, in this order or in the other */
static enum result open_and_close(const struct device *device, int *error)
{
	bool first = random_below(2);
	int other = -1;
	int fd;

	errno = 0;
	if (!bind_device(device, "vfio-pci")) {
		*error = errno ?: EIO;
		return REFUSED;
	}
	fd = random_below(2) ? open_container(device, &other) :
			       open_cdev(device, &other);
	*error = errno;
	if (first && other >= 0)
		close(other);
	if (fd >= 0)
		close(fd);
	if (!first && other >= 0)
		close(other);
	return fd < 0 ? REFUSED : DONE;
}

/* The tasks */

static const struct task tasks[] = {
	{ "types", write_one_type, type_errors },
	{ "drivers", change_driver, driver_errors },
	{ "vfio", open_and_close, vfio_errors },
};

static bool is_expected(const struct task *task, int error)
{
	for (const int *each = task->errors; *each; each++)
		if (*each == error)
			return true;
	return false;
}

static int run_task(const struct task *task, unsigned int operations)
{
	unsigned int results[] = { 0, 0, 0 };
	struct device device;

	for (unsigned int i = 0; i < operations; i++) {
		enum result result = REFUSED;
		int error = ENOENT;

		if (random_device(&device))
			result = task->operate(&device, &error);
		if (result == REFUSED && !is_expected(task, error)) {
			ksft_print_msg("%s: %s: %s\n", task->name,
				       device.address, strerror(error));
			result = WRONG;
		}
		results[result]++;
	}
	ksft_print_msg("%u operations of %s: %u done, %u refused, %u wrong\n",
		       operations, task->name, results[DONE], results[REFUSED],
		       results[WRONG]);
	/* Where nothing was done, nothing was tested */
	return results[WRONG] || !results[DONE] ? KSFT_FAIL : KSFT_PASS;
}

static unsigned int number_of(const char *name, unsigned int otherwise)
{
	char *value = getenv(name);

	return value ? strtoul(value, NULL, 0) : otherwise;
}

/* Without a driver, and without a preference for one */
static void give_back_devices(void)
{
	struct dirent **entries;
	struct device device;
	int nr;

	write_line(REFUSE, "N");
	nr = scandir(PCI_DEVICES, &entries, NULL, alphasort);
	for (int i = 0; i < nr; i++) {
		if (is_edu(entries[i]->d_name)) {
			snprintf(device.address, NAME_SIZE, "%s",
				 entries[i]->d_name);
			write_device_file(&device, "driver_override", "\n");
			unbind_device(&device);
		}
		free(entries[i]);
	}
	if (nr >= 0)
		free(entries);
}

int main(void)
{
	unsigned int operations = number_of("GROUP_FIRE_OPERATIONS",
					    DEFAULT_OPERATIONS);
	unsigned int seed = number_of("GROUP_FIRE_SEED", getpid());
	pid_t children[ARRAY_SIZE(tasks)];
	struct device device;
	int status;

	ksft_print_header();
	if (geteuid())
		ksft_exit_skip("needs root\n");
	if (!random_device(&device))
		ksft_exit_skip("needs QEMU's edu devices\n");
	if (access(PCI_DRIVERS "/" DMA_DRIVER, F_OK) ||
	    access(PCI_DRIVERS "/" MANAGED_DRIVER, F_OK))
		ksft_exit_skip("the modules " DMA_DRIVER " and " MANAGED_DRIVER " are not there\n");
	if (access(PCI_DRIVERS "/vfio-pci", F_OK) ||
	    access("/dev/iommu", F_OK) || access("/dev/vfio/vfio", F_OK))
		ksft_exit_skip("VFIO is not there\n");

	ksft_set_plan(ARRAY_SIZE(tasks));
	ksft_print_msg("seed %u\n", seed);
	page = mmap(NULL, sysconf(_SC_PAGESIZE), PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (page == MAP_FAILED)
		ksft_exit_fail_msg("mmap: %s\n", strerror(errno));

	fflush(stdout);
	for (unsigned int i = 0; i < ARRAY_SIZE(tasks); i++) {
		children[i] = fork();
		if (children[i] < 0)
			ksft_exit_fail_msg("fork: %s\n", strerror(errno));
		if (children[i])
			continue;
		random_state = seed + i;
		exit(run_task(&tasks[i], operations / ARRAY_SIZE(tasks)));
	}
	for (unsigned int i = 0; i < ARRAY_SIZE(tasks); i++) {
		waitpid(children[i], &status, 0);
		ksft_test_result(WIFEXITED(status) &&
				 WEXITSTATUS(status) == KSFT_PASS,
				 "%s\n", tasks[i].name);
	}
	give_back_devices();
	ksft_finished();
}
