// SPDX-License-Identifier: GPL-2.0-only
/*
 * DMA through domains that user space manages.
 *
 * Two of QEMU's "edu" devices, whose DMA engine can be pointed at any address,
 * are driven through VFIO: with a type1 container, with an IOAS of iommufd, and
 * with a hardware page table that was asked of iommufd. The data have to arrive
 * where they are mapped, and nowhere else.
 *
 * Each device has to be alone in its IOMMU group. They are those that
 * USER_DMA_DEVICES names, two PCI addresses with a space between them, or the
 * first two that there are. They are bound to vfio-pci, and at the end to the
 * driver that they had before.
 *
 * Where the kernel can make allocations or functions fail, see
 * Documentation/fault-injection/fault-injection.rst, those of an attach do, one
 * after the other, and then the attach itself. The settings of that are given
 * back at the end as well.
 *
 * With USER_DMA_UNPLUG set, the test "unplugged" says that it waits, and
 * somebody else has to unplug the first device, for good.
 *
 * Of an access that the IOMMU has to block there is first a line
 *   # <device> must not reach <address>
 * so that whoever knows how this machine's IOMMU reports faults can look for
 * this one in the kernel's log.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/iommufd.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>

#include "../kselftest_harness.h"
#include "faults.h"
#include "pci_device.h"

#define EDU_DMA_SOURCE		0x80
#define EDU_DMA_TARGET		0x88
#define EDU_DMA_COUNT		0x90
#define EDU_DMA_COMMAND		0x98
#define EDU_DMA_RUN		0x1
#define EDU_DMA_TO_MEMORY	0x2

/* Where the device sees its own buffer */
#define EDU_BUFFER	0x40000

/* Bytes of a transfer; the buffer is a bit larger, and so is every page */
#define SIZE		2048

/*
 * What the IOMMU blocks is one word: QEMU splits more than that into several
 * accesses, each of which is a fault.
 */
#define WORD		sizeof(__u32)

#define PAGES		8

/* Only a test that hangs takes that long */
#define SECONDS		300

/*
 * Kernels limit how many faults they report; VT-d's driver three in five
 * seconds. So all tests together take longer than kselftest allows by default,
 * see tools/testing/selftests/iommu/settings.
 */
#define FAULT_SECONDS	2

enum interface {
	TYPE1,
	IOAS,
	HWPT,
};

/* An I/O address space and what it takes to map memory there */
struct space {
	enum interface interface;
	int fd;
	bool has_device;
	__u32 ioas_id;
	__u32 pt_id;
};

struct edu {
	const struct device *device;
	int fd;
	int group_fd;
	__u32 dev_id;
	__u64 registers;
	__u64 config;
};

/*
 * What iommufd cannot attach without: a note of who is attached, and one of the
 * window for MSIs. An IOMMU driver needs more, or nothing.
 */
#define IOMMUFD_ALLOCATIONS	2

static struct device devices[2];
static unsigned int nr_devices;

/* Devices and their drivers */

static bool is_usable(const char *address)
{
	char path[PATH_MAX], line[NAME_SIZE];

	device_path(path, address, "iommu_group/devices");
	return is_edu(address) && only_entry(path, line);
}

static void add_device(const char *address)
{
	struct device *device = &devices[nr_devices];

	if (nr_devices == ARRAY_SIZE(devices) || !is_usable(address))
		return;
	snprintf(device->address, NAME_SIZE, "%s", address);
	nr_devices++;
}

static void find_devices(void)
{
	char *named = getenv("USER_DMA_DEVICES"), *address;
	struct dirent **entries;
	int nr;

	if (named) {
		for (address = strtok(named, " "); address;
		     address = strtok(NULL, " "))
			add_device(address);
		return;
	}

	nr = scandir(PCI_DEVICES, &entries, NULL, alphasort);
	for (int i = 0; i < nr; i++) {
		add_device(entries[i]->d_name);
		free(entries[i]);
	}
	if (nr >= 0)
		free(entries);
}

/* Remember what the devices are bound to before the first test */
static void remember_drivers(void)
{
	for (unsigned int i = 0; i < nr_devices; i++)
		remember_driver(&devices[i]);
}

/* Called once, however the tests end */
static void give_back_drivers(void)
{
	for (unsigned int i = 0; i < nr_devices; i++)
		give_back_driver(&devices[i]);
}

/* Attaches that fail; functions return why they cannot, or NULL */

static const char *set_attach_faults(enum interface interface)
{
	return interface == TYPE1 ? "a container has no attach of its own" :
				    set_faults();
}

static const char *open_attach_faults(enum interface interface, int *faults)
{
	return interface == TYPE1 ? "a container has no attach of its own" :
				    open_faults(faults);
}

/* Address spaces; functions return 0 or a negative errno */

static int space_alloc_ioas(struct space *space)
{
	struct iommu_ioas_alloc alloc = { .size = sizeof(alloc) };

	if (ioctl(space->fd, IOMMU_IOAS_ALLOC, &alloc))
		return -errno;
	space->ioas_id = alloc.out_ioas_id;
	space->pt_id = alloc.out_ioas_id;
	return 0;
}

static int space_alloc_hwpt(struct space *space, __u32 dev_id)
{
	struct iommu_hwpt_alloc alloc = {
		.size = sizeof(alloc),
		.dev_id = dev_id,
		.pt_id = space->ioas_id,
	};

	if (ioctl(space->fd, IOMMU_HWPT_ALLOC, &alloc))
		return -errno;
	space->pt_id = alloc.out_hwpt_id;
	return 0;
}

static int space_open(struct space *space, enum interface interface)
{
	int ret;

	*space = (struct space){ .interface = interface };
	space->fd = open(interface == TYPE1 ? "/dev/vfio/vfio" : "/dev/iommu",
			 O_RDWR | O_CLOEXEC);
	if (space->fd < 0)
		return -errno;
	if (interface == TYPE1)
		return 0;

	ret = space_alloc_ioas(space);
	if (ret)
		close(space->fd);
	return ret;
}

static void space_close(struct space *space)
{
	close(space->fd);
}

static int space_map(struct space *space, void *memory, __u64 iova,
		     size_t size)
{
	struct vfio_iommu_type1_dma_map type1 = {
		.argsz = sizeof(type1),
		.flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
		.vaddr = (uintptr_t)memory,
		.iova = iova,
		.size = size,
	};
	struct iommu_ioas_map ioas = {
		.size = sizeof(ioas),
		.flags = IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_READABLE |
			 IOMMU_IOAS_MAP_WRITEABLE,
		.ioas_id = space->ioas_id,
		.user_va = (uintptr_t)memory,
		.iova = iova,
		.length = size,
	};
	int ret;

	if (space->interface == TYPE1)
		ret = ioctl(space->fd, VFIO_IOMMU_MAP_DMA, &type1);
	else
		ret = ioctl(space->fd, IOMMU_IOAS_MAP, &ioas);
	return ret ? -errno : 0;
}

static int space_unmap(struct space *space, __u64 iova, size_t size)
{
	struct vfio_iommu_type1_dma_unmap type1 = {
		.argsz = sizeof(type1),
		.iova = iova,
		.size = size,
	};
	struct iommu_ioas_unmap ioas = {
		.size = sizeof(ioas),
		.ioas_id = space->ioas_id,
		.iova = iova,
		.length = size,
	};
	__u64 unmapped;

	if (space->interface == TYPE1) {
		if (ioctl(space->fd, VFIO_IOMMU_UNMAP_DMA, &type1))
			return -errno;
		unmapped = type1.size;
	} else {
		if (ioctl(space->fd, IOMMU_IOAS_UNMAP, &ioas))
			return -errno;
		unmapped = ioas.length;
	}
	return unmapped == size ? 0 : -EIO;
}

/* Devices in an address space; functions return 0 or a negative errno */

static int edu_open_type1(struct edu *edu, struct space *space)
{
	char path[PATH_MAX], group[NAME_SIZE];

	read_device_link(edu->device, "iommu_group", group);
	snprintf(path, sizeof(path), "/dev/vfio/%s", group);
	edu->group_fd = open(path, O_RDWR | O_CLOEXEC);
	if (edu->group_fd < 0)
		return -errno;
	if (ioctl(edu->group_fd, VFIO_GROUP_SET_CONTAINER, &space->fd))
		return -errno;
	if (!space->has_device &&
	    ioctl(space->fd, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU))
		return -errno;
	space->has_device = true;

	edu->fd = ioctl(edu->group_fd, VFIO_GROUP_GET_DEVICE_FD,
			edu->device->address);
	return edu->fd < 0 ? -errno : 0;
}

/* Returns 0 or a negative errno also when the device leaves another domain */
static int edu_attach(struct edu *edu, const struct space *space)
{
	struct vfio_device_attach_iommufd_pt attach = {
		.argsz = sizeof(attach),
		.pt_id = space->pt_id,
	};

	if (ioctl(edu->fd, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &attach))
		return -errno;
	return 0;
}

static int edu_detach(struct edu *edu)
{
	struct vfio_device_detach_iommufd_pt detach = {
		.argsz = sizeof(detach),
	};

	if (ioctl(edu->fd, VFIO_DEVICE_DETACH_IOMMUFD_PT, &detach))
		return -errno;
	return 0;
}

/*
 * Attach while the nth allocation fails, if there are so many. Returns how that
 * ended; reached is whether there were.
 */
static int edu_attach_short(struct edu *edu, const struct space *space,
			    int faults, unsigned int nth, bool *reached)
{
	unsigned int left;
	int attached, ret;

	ret = set_fault(faults, nth);
	if (ret)
		return ret;
	attached = edu_attach(edu, space);
	ret = get_fault(faults, &left) ?: set_fault(faults, 0);
	if (ret)
		return ret;
	*reached = !left;
	return attached;
}

static int edu_open_cdev(struct edu *edu, struct space *space)
{
	struct vfio_device_bind_iommufd bind = {
		.argsz = sizeof(bind),
		.iommufd = space->fd,
	};
	char path[PATH_MAX], name[NAME_SIZE];
	int ret;

	device_path(path, edu->device->address, "vfio-dev");
	if (!only_entry(path, name))
		return -ENODEV;
	snprintf(path, sizeof(path), "/dev/vfio/devices/%s", name);
	edu->fd = open(path, O_RDWR | O_CLOEXEC);
	if (edu->fd < 0)
		return -errno;
	if (ioctl(edu->fd, VFIO_DEVICE_BIND_IOMMUFD, &bind))
		return -errno;
	edu->dev_id = bind.out_devid;

	if (space->interface == HWPT && !space->has_device) {
		ret = space_alloc_hwpt(space, edu->dev_id);
		if (ret)
			return ret;
	}
	space->has_device = true;
	return edu_attach(edu, space);
}

static int edu_region(struct edu *edu, unsigned int index, __u64 *offset)
{
	struct vfio_region_info info = {
		.argsz = sizeof(info),
		.index = index,
	};

	if (ioctl(edu->fd, VFIO_DEVICE_GET_REGION_INFO, &info))
		return -errno;
	*offset = info.offset;
	return 0;
}

/* Its registers are there, and it may do DMA */
static int edu_enable(struct edu *edu)
{
	__u16 command = PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;
	int ret;

	ret = edu_region(edu, VFIO_PCI_BAR0_REGION_INDEX, &edu->registers);
	if (ret)
		return ret;
	ret = edu_region(edu, VFIO_PCI_CONFIG_REGION_INDEX, &edu->config);
	if (ret)
		return ret;
	if (pwrite(edu->fd, &command, sizeof(command),
		   edu->config + PCI_COMMAND) != sizeof(command))
		return -EIO;
	return 0;
}

static void edu_close(struct edu *edu)
{
	if (edu->fd >= 0)
		close(edu->fd);
	if (edu->group_fd >= 0)
		close(edu->group_fd);
	edu->fd = -1;
	edu->group_fd = -1;
}

static int edu_open(struct edu *edu, struct space *space,
		    const struct device *device)
{
	int ret;

	*edu = (struct edu){ .device = device, .fd = -1, .group_fd = -1 };
	if (space->interface == TYPE1)
		ret = edu_open_type1(edu, space);
	else
		ret = edu_open_cdev(edu, space);
	if (!ret)
		ret = edu_enable(edu);
	if (ret)
		edu_close(edu);
	return ret;
}

/*
 * Registers of 64 bits are written as 32, which every kernel can do; the
 * device takes the upper half for zeroes.
 */
static int edu_write_register(struct edu *edu, unsigned int reg, __u32 value)
{
	if (pwrite(edu->fd, &value, sizeof(value), edu->registers + reg) !=
	    sizeof(value))
		return -EIO;
	return 0;
}

static int edu_transfer(struct edu *edu, __u32 source, __u32 target,
			__u32 size, __u32 command)
{
	__u32 state;

	if (edu_write_register(edu, EDU_DMA_SOURCE, source) ||
	    edu_write_register(edu, EDU_DMA_TARGET, target) ||
	    edu_write_register(edu, EDU_DMA_COUNT, size) ||
	    edu_write_register(edu, EDU_DMA_COMMAND, command | EDU_DMA_RUN))
		return -EIO;
	do {
		usleep(1000);
		if (pread(edu->fd, &state, sizeof(state),
			  edu->registers + EDU_DMA_COMMAND) != sizeof(state))
			return -EIO;
	} while (state & EDU_DMA_RUN);
	return 0;
}

/* The device reads memory into its buffer */
static int edu_read(struct edu *edu, __u64 iova, size_t size)
{
	return edu_transfer(edu, iova, EDU_BUFFER, size, 0);
}

/* The device writes its buffer to memory */
static int edu_write(struct edu *edu, __u64 iova, size_t size)
{
	return edu_transfer(edu, EDU_BUFFER, iova, size, EDU_DMA_TO_MEMORY);
}

static int edu_copy(struct edu *edu, __u64 from, __u64 to)
{
	return edu_read(edu, from, SIZE) ?: edu_write(edu, to, SIZE);
}

static void say_blocked(struct edu *edu, __u64 iova)
{
	sleep(FAULT_SECONDS);
	ksft_print_msg("%s must not reach 0x%llx\n", edu->device->address,
		       (unsigned long long)iova);
}

/* The device does as it is told, and learns nothing of what was blocked */
static int edu_read_blocked(struct edu *edu, __u64 iova)
{
	say_blocked(edu, iova);
	return edu_read(edu, iova, WORD);
}

static int edu_write_blocked(struct edu *edu, __u64 iova)
{
	say_blocked(edu, iova);
	return edu_write(edu, iova, WORD);
}

/* Memory */

static size_t page_size(void)
{
	return sysconf(_SC_PAGESIZE);
}

/*
 * In the reach of a device with 28 bits, and out of the way of the window for
 * MSIs that IOMMU drivers reserve on some architectures.
 */
static __u64 iova_of(unsigned int nr)
{
	return 0x4000000 + nr * page_size();
}

static __u32 word_of(unsigned int seed, size_t index)
{
	return (seed << 16) + index;
}

/* Fill a page with data that are different for every seed and place */
static void fill(__u32 *page, unsigned int seed)
{
	for (size_t i = 0; i < page_size() / WORD; i++)
		page[i] = word_of(seed, i);
}

/* Whether the bytes of a page from begin to end are what fill() put there */
static bool holds(const __u32 *page, unsigned int seed, size_t begin,
		  size_t end)
{
	for (size_t i = begin / WORD; i < end / WORD; i++)
		if (page[i] != word_of(seed, i))
			return false;
	return true;
}

/* A transfer of the data of another page arrived, and wrote nothing else */
static bool arrived(const __u32 *page, unsigned int seed, unsigned int before)
{
	return holds(page, seed, 0, SIZE) &&
	       holds(page, before, SIZE, page_size());
}

static bool unchanged(const __u32 *page, unsigned int seed)
{
	return holds(page, seed, 0, page_size());
}

FIXTURE(user_dma)
{
	struct space space;
	struct edu edu[2];
	__u32 *page[PAGES];
};

FIXTURE_VARIANT(user_dma)
{
	enum interface interface;
};

FIXTURE_VARIANT_ADD(user_dma, type1)
{
	.interface = TYPE1,
};

FIXTURE_VARIANT_ADD(user_dma, iommufd)
{
	.interface = IOAS,
};

FIXTURE_VARIANT_ADD(user_dma, iommufd_hwpt)
{
	.interface = HWPT,
};

FIXTURE_SETUP(user_dma)
{
	bool type1 = variant->interface == TYPE1;
	void *memory;
	int error;

	if (geteuid())
		SKIP(return, "needs root");
	if (nr_devices < ARRAY_SIZE(devices))
		SKIP(return, "needs two of QEMU's edu devices, each alone in its IOMMU group");
	if (access(PCI_DRIVERS "/vfio-pci", F_OK))
		SKIP(return, "the driver vfio-pci is not there");
	if (type1 && access("/dev/vfio/vfio", F_OK))
		SKIP(return, "no /dev/vfio/vfio");
	if (!type1 && access("/dev/iommu", F_OK))
		SKIP(return, "no /dev/iommu");

	for (unsigned int i = 0; i < ARRAY_SIZE(devices); i++)
		ASSERT_TRUE(bind_device(&devices[i], "vfio-pci"));
	if (!type1 && access("/dev/vfio/devices", F_OK))
		SKIP(return, "this kernel's VFIO has no device nodes");

	/* Shared, so that it can be seen what another process' device does */
	memory = mmap(NULL, PAGES * page_size(), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, memory);
	for (unsigned int i = 0; i < PAGES; i++) {
		self->page[i] = memory + i * page_size();
		fill(self->page[i], i);
	}

	ASSERT_EQ(0, space_open(&self->space, variant->interface));
	error = edu_open(&self->edu[0], &self->space, &devices[0]);
	if (error == -EPERM)
		SKIP(return, "this IOMMU does not isolate interrupts");
	ASSERT_EQ(0, error);
	self->edu[1] = (struct edu){ .fd = -1, .group_fd = -1 };
}

FIXTURE_TEARDOWN(user_dma)
{
	edu_close(&self->edu[1]);
	edu_close(&self->edu[0]);
	space_close(&self->space);
	munmap(self->page[0], PAGES * page_size());
}

#define MAP(_space, _page, _iova) \
	ASSERT_EQ(0, space_map(_space, self->page[_page], iova_of(_iova), \
			       page_size()))

#define UNMAP(_space, _iova) \
	ASSERT_EQ(0, space_unmap(_space, iova_of(_iova), page_size()))

/* Page 0 stays mapped, the control for page 1, which does not */
TEST_F_TIMEOUT(user_dma, unmapped, SECONDS)
{
	struct edu *edu = &self->edu[0];

	MAP(&self->space, 0, 0);
	MAP(&self->space, 1, 1);
	ASSERT_EQ(0, edu_copy(edu, iova_of(0), iova_of(1)));
	EXPECT_TRUE(arrived(self->page[1], 0, 1));
	EXPECT_TRUE(unchanged(self->page[0], 0));

	UNMAP(&self->space, 1);
	fill(self->page[1], 11);
	ASSERT_EQ(0, edu_write_blocked(edu, iova_of(1)));
	EXPECT_TRUE(unchanged(self->page[1], 11));

	/* What the device has read is seen when it writes it */
	ASSERT_EQ(0, edu_read_blocked(edu, iova_of(1)));
	ASSERT_EQ(0, edu_write(edu, iova_of(0), SIZE));
	EXPECT_NE(self->page[1][0], self->page[0][0]);
	EXPECT_TRUE(holds(self->page[0], 0, WORD, page_size()));

	MAP(&self->space, 1, 1);
	fill(self->page[0], 20);
	ASSERT_EQ(0, edu_copy(edu, iova_of(0), iova_of(1)));
	EXPECT_TRUE(arrived(self->page[1], 20, 11));
}

/* What is mapped before and after the second device came is there for both */
TEST_F_TIMEOUT(user_dma, two_devices, SECONDS)
{
	MAP(&self->space, 0, 0);
	ASSERT_EQ(0, edu_open(&self->edu[1], &self->space, &devices[1]));
	MAP(&self->space, 1, 1);
	MAP(&self->space, 2, 2);

	ASSERT_EQ(0, edu_copy(&self->edu[0], iova_of(0), iova_of(1)));
	EXPECT_TRUE(arrived(self->page[1], 0, 1));
	fill(self->page[1], 11);
	ASSERT_EQ(0, edu_copy(&self->edu[1], iova_of(1), iova_of(0)));
	EXPECT_TRUE(arrived(self->page[0], 11, 0));

	UNMAP(&self->space, 1);
	for (unsigned int i = 0; i < ARRAY_SIZE(devices); i++)
		ASSERT_EQ(0, edu_write_blocked(&self->edu[i], iova_of(1)));
	EXPECT_TRUE(unchanged(self->page[1], 11));

	/* The second one stays when the first goes */
	edu_close(&self->edu[0]);
	fill(self->page[0], 10);
	ASSERT_EQ(0, edu_copy(&self->edu[1], iova_of(0), iova_of(2)));
	EXPECT_TRUE(arrived(self->page[2], 10, 2));
}

/* The same addresses lead to other memory, or nowhere, in another space */
TEST_F_TIMEOUT(user_dma, two_spaces, SECONDS)
{
	struct space other;

	ASSERT_EQ(0, space_open(&other, variant->interface));
	ASSERT_EQ(0, edu_open(&self->edu[1], &other, &devices[1]));
	MAP(&self->space, 0, 0);
	MAP(&self->space, 1, 1);
	MAP(&other, 2, 0);
	MAP(&other, 3, 1);
	MAP(&other, 4, 2);

	ASSERT_EQ(0, edu_copy(&self->edu[0], iova_of(0), iova_of(1)));
	EXPECT_TRUE(arrived(self->page[1], 0, 1));
	EXPECT_TRUE(unchanged(self->page[3], 3));
	ASSERT_EQ(0, edu_copy(&self->edu[1], iova_of(0), iova_of(1)));
	EXPECT_TRUE(arrived(self->page[3], 2, 3));
	EXPECT_TRUE(arrived(self->page[1], 0, 1));

	ASSERT_EQ(0, edu_write_blocked(&self->edu[0], iova_of(2)));
	EXPECT_TRUE(unchanged(self->page[4], 4));
	ASSERT_EQ(0, edu_copy(&self->edu[1], iova_of(0), iova_of(2)));
	EXPECT_TRUE(arrived(self->page[4], 2, 4));

	edu_close(&self->edu[1]);
	space_close(&other);
}

/*
 * The kernel can do without memory that its debugging code wants, and wants it
 * only the first time. So every failure that did no harm is tried once more, or
 * the next one would be that of the allocation after the next.
 */
static void try_once_more(unsigned int *nth, unsigned int *again)
{
	if (*again == *nth)
		return;
	*again = *nth;
	(*nth)--;
}

/* An attach that fails in the middle leaves the device where it was */
TEST_F_TIMEOUT(user_dma, replace_fails, SECONDS)
{
	struct edu *edu = &self->edu[0];
	struct space other = self->space;
	int faults, error, before, harmless = 0;
	bool seen_blocked = false;
	bool reached = true;
	unsigned int nth, again = 0;
	const char *reason;

	reason = open_attach_faults(variant->interface, &faults);
	if (reason)
		SKIP(return, "%s", reason);

	ASSERT_EQ(0, space_alloc_ioas(&other));
	MAP(&self->space, 0, 0);
	MAP(&self->space, 1, 1);
	MAP(&other, 2, 0);
	MAP(&other, 3, 1);
	MAP(&other, 4, 2);

	for (nth = 1; reached; nth++) {
		/* A new one, since a domain may keep what it was given once */
		if (variant->interface == HWPT)
			ASSERT_EQ(0, space_alloc_hwpt(&other, edu->dev_id));
		before = failed_allocations();
		error = edu_attach_short(edu, &other, faults, nth, &reached);
		if (!error) {
			if (!reached)
				break;
			/* It can do without that memory */
			harmless += failed_allocations() - before;
			ASSERT_EQ(0, edu_attach(edu, &self->space));
			try_once_more(&nth, &again);
			continue;
		}
		ASSERT_TRUE(reached);
		if (failed_allocations() > before)
			EXPECT_EQ(-ENOMEM, error);

		fill(self->page[0], 10 + nth);
		ASSERT_EQ(0, edu_copy(edu, iova_of(0), iova_of(1)));
		ASSERT_TRUE(arrived(self->page[1], 10 + nth, 1)) {
			TH_LOG("after fault %u", nth);
		}
		ASSERT_TRUE(unchanged(self->page[3], 3));
		if (!seen_blocked) {
			seen_blocked = true;
			ASSERT_EQ(0, edu_write_blocked(edu, iova_of(2)));
			EXPECT_TRUE(unchanged(self->page[4], 4));
		}
	}
	ksft_print_msg("%d allocations of a replacing attach failed one by one, %d harmless\n",
		       failed_allocations(), harmless);
	EXPECT_LE(harmless + IOMMUFD_ALLOCATIONS, failed_allocations());

	/* With all the memory that it wants the device has gone over */
	ASSERT_EQ(0, edu_copy(edu, iova_of(0), iova_of(1)));
	EXPECT_TRUE(arrived(self->page[3], 2, 3));
	ASSERT_EQ(0, edu_write(edu, iova_of(2), SIZE));
	EXPECT_TRUE(arrived(self->page[4], 2, 4));
	close(faults);
}

/* A device that nothing was attached to can be attached after a failure */
TEST_F_TIMEOUT(user_dma, first_fails, SECONDS)
{
	struct edu *edu = &self->edu[0];
	int faults, error, before, harmless = 0;
	bool seen_blocked = false;
	bool reached = true;
	unsigned int nth, again = 0;
	const char *reason;

	reason = open_attach_faults(variant->interface, &faults);
	if (reason)
		SKIP(return, "%s", reason);

	MAP(&self->space, 0, 0);
	MAP(&self->space, 1, 1);

	for (nth = 1; reached; nth++) {
		ASSERT_EQ(0, edu_detach(edu));
		/* A new one, since a domain may keep what it was given once */
		if (variant->interface == HWPT)
			ASSERT_EQ(0, space_alloc_hwpt(&self->space,
						      edu->dev_id));
		before = failed_allocations();
		error = edu_attach_short(edu, &self->space, faults, nth,
					 &reached);
		if (error) {
			ASSERT_TRUE(reached);
			if (failed_allocations() > before)
				EXPECT_EQ(-ENOMEM, error);
			if (!seen_blocked) {
				seen_blocked = true;
				ASSERT_EQ(0, edu_write_blocked(edu,
							       iova_of(1)));
				EXPECT_TRUE(unchanged(self->page[1], 1));
			}
			ASSERT_EQ(0, edu_attach(edu, &self->space));
		} else {
			harmless += failed_allocations() - before;
		}

		fill(self->page[0], 10 + nth);
		ASSERT_EQ(0, edu_copy(edu, iova_of(0), iova_of(1)));
		ASSERT_TRUE(arrived(self->page[1], 10 + nth, 1)) {
			TH_LOG("after fault %u", nth);
		}
		if (!error && reached)
			try_once_more(&nth, &again);
	}
	ksft_print_msg("%d allocations of a first attach failed one by one, %d harmless\n",
		       failed_allocations(), harmless);
	EXPECT_LE(harmless + IOMMUFD_ALLOCATIONS, failed_allocations());
	close(faults);
}

/* A driver that refuses an attach leaves the device where it was */
TEST_F_TIMEOUT(user_dma, attach_refused, SECONDS)
{
	/* With EINVAL iommufd would go on to its next domain */
	static const int errors[] = { ENOMEM, EBUSY, ENODEV };
	struct edu *edu = &self->edu[0];
	struct space other = self->space;
	const char *reason;

	reason = set_attach_faults(variant->interface);
	if (reason)
		SKIP(return, "%s", reason);
	if (access(FUNCTION_FAULTS, F_OK))
		SKIP(return, "this kernel cannot make an attach fail");

	ASSERT_EQ(0, space_alloc_ioas(&other));
	if (variant->interface == HWPT)
		ASSERT_EQ(0, space_alloc_hwpt(&other, edu->dev_id));
	MAP(&self->space, 0, 0);
	MAP(&self->space, 1, 1);
	MAP(&other, 2, 0);
	MAP(&other, 3, 1);

	for (unsigned int i = 0; i < ARRAY_SIZE(errors); i++) {
		/* In the place of another domain */
		ASSERT_EQ(0, fail_next_attach(errors[i]));
		ASSERT_EQ(-errors[i], edu_attach(edu, &other));
		fill(self->page[0], 10 + i);
		ASSERT_EQ(0, edu_copy(edu, iova_of(0), iova_of(1)));
		EXPECT_TRUE(arrived(self->page[1], 10 + i, 1));
		EXPECT_TRUE(unchanged(self->page[3], 3));

		/* And with nothing attached */
		ASSERT_EQ(0, edu_detach(edu));
		ASSERT_EQ(0, fail_next_attach(errors[i]));
		ASSERT_EQ(-errors[i], edu_attach(edu, &self->space));
		if (!i) {
			fill(self->page[1], 1);
			ASSERT_EQ(0, edu_write_blocked(edu, iova_of(1)));
			EXPECT_TRUE(unchanged(self->page[1], 1));
		}
		ASSERT_EQ(0, edu_attach(edu, &self->space));
	}

	ASSERT_EQ(0, edu_attach(edu, &other));
	ASSERT_EQ(0, edu_copy(edu, iova_of(0), iova_of(1)));
	EXPECT_TRUE(arrived(self->page[3], 2, 3));
}

/* What the process of the test "killed" does until it is killed */
static int be_killed(enum interface interface, __u32 * const page[],
		     int ready)
{
	struct space space;
	struct edu edu;

	if (space_open(&space, interface) ||
	    edu_open(&edu, &space, &devices[0]) ||
	    space_map(&space, page[0], iova_of(0), page_size()) ||
	    space_map(&space, page[1], iova_of(1), page_size()) ||
	    edu_copy(&edu, iova_of(0), iova_of(1)) ||
	    write(ready, "", 1) != 1)
		return KSFT_FAIL;
	for (;;)
		pause();
}

TEST_F_TIMEOUT(user_dma, killed, SECONDS)
{
	int ready[2], status;
	pid_t child;
	char byte;

	/* Only the other process has the device */
	edu_close(&self->edu[0]);
	space_close(&self->space);
	ASSERT_EQ(0, pipe(ready));
	child = fork();
	ASSERT_LE(0, child);
	if (!child)
		_exit(be_killed(variant->interface, self->page, ready[1]));
	close(ready[1]);
	ASSERT_EQ(1, read(ready[0], &byte, 1));
	EXPECT_TRUE(arrived(self->page[1], 0, 1));

	ASSERT_EQ(0, kill(child, SIGKILL));
	ASSERT_EQ(child, waitpid(child, &status, 0));
	ASSERT_TRUE(WIFSIGNALED(status));
	EXPECT_EQ(SIGKILL, WTERMSIG(status));

	/* What it had mapped is not there for the next user */
	fill(self->page[1], 11);
	ASSERT_EQ(0, space_open(&self->space, variant->interface));
	ASSERT_EQ(0, edu_open(&self->edu[0], &self->space, &devices[0]));
	MAP(&self->space, 2, 2);
	ASSERT_EQ(0, edu_read(&self->edu[0], iova_of(2), SIZE));
	ASSERT_EQ(0, edu_write_blocked(&self->edu[0], iova_of(1)));
	EXPECT_TRUE(unchanged(self->page[1], 11));
	MAP(&self->space, 1, 1);
	ASSERT_EQ(0, edu_copy(&self->edu[0], iova_of(2), iova_of(1)));
	EXPECT_TRUE(arrived(self->page[1], 2, 11));
}

/* Ask to be told when the device is wanted back; 0 or a negative errno */
static int edu_notify_request(struct edu *edu, int event)
{
	struct {
		struct vfio_irq_set set;
		__s32 event;
	} request = {
		.set = {
			.argsz = sizeof(request),
			.flags = VFIO_IRQ_SET_DATA_EVENTFD |
				 VFIO_IRQ_SET_ACTION_TRIGGER,
			.index = VFIO_PCI_REQ_IRQ_INDEX,
			.count = 1,
		},
		.event = event,
	};

	return ioctl(edu->fd, VFIO_DEVICE_SET_IRQS, &request) ? -errno : 0;
}

/* Remove a device, which takes until nobody has it open */
static pid_t start_removal(const struct device *device)
{
	pid_t child = fork();

	if (child)
		return child;
	close_range(STDERR_FILENO + 1, ~0U, 0);
	_exit(write_device_file(device, "remove", "1") ? KSFT_FAIL : KSFT_PASS);
}

static void wait_for_device(const struct device *device, bool there)
{
	while (device_exists(device) != there)
		usleep(10000);
}

TEST_F_TIMEOUT(user_dma, unplugged, SECONDS)
{
	bool somebody_else = getenv("USER_DMA_UNPLUG");
	pid_t remover = -1;
	struct pollfd poll_event;
	int event, status;

	event = eventfd(0, EFD_CLOEXEC);
	ASSERT_LE(0, event);
	MAP(&self->space, 0, 0);
	MAP(&self->space, 1, 1);
	ASSERT_EQ(0, edu_open(&self->edu[1], &self->space, &devices[1]));
	ASSERT_EQ(0, edu_notify_request(&self->edu[0], event));
	ASSERT_EQ(0, edu_copy(&self->edu[0], iova_of(0), iova_of(1)));
	EXPECT_TRUE(arrived(self->page[1], 0, 1));

	if (somebody_else) {
		ksft_print_msg("waiting for %s to be unplugged\n",
			       devices[0].address);
	} else {
		remover = start_removal(&devices[0]);
		ASSERT_LE(0, remover);
	}
	poll_event = (struct pollfd){ .fd = event, .events = POLLIN };
	ASSERT_EQ(1, poll(&poll_event, 1, -1));

	/* It is still ours, and so is the memory that it reaches */
	fill(self->page[0], 10);
	ASSERT_EQ(0, edu_copy(&self->edu[0], iova_of(0), iova_of(1)));
	EXPECT_TRUE(arrived(self->page[1], 10, 1));

	/* The group, and what is mapped, are left to the removal */
	ASSERT_EQ(0, close(self->edu[0].fd));
	self->edu[0].fd = -1;
	if (remover >= 0) {
		ASSERT_EQ(remover, waitpid(remover, &status, 0));
		ASSERT_TRUE(WIFEXITED(status));
		ASSERT_EQ(KSFT_PASS, WEXITSTATUS(status));
	}
	wait_for_device(&devices[0], false);

	/* The other device has noticed nothing */
	fill(self->page[0], 20);
	ASSERT_EQ(0, edu_copy(&self->edu[1], iova_of(0), iova_of(1)));
	EXPECT_TRUE(arrived(self->page[1], 20, 1));
	edu_close(&self->edu[0]);
	if (somebody_else)
		return;

	/* It comes back, and into the space that it had left */
	ASSERT_EQ(0, write_line("/sys/bus/pci/rescan", "1"));
	wait_for_device(&devices[0], true);
	ASSERT_TRUE(bind_device(&devices[0], "vfio-pci"));
	ASSERT_EQ(0, edu_open(&self->edu[0], &self->space, &devices[0]));
	fill(self->page[0], 30);
	ASSERT_EQ(0, edu_copy(&self->edu[0], iova_of(0), iova_of(1)));
	EXPECT_TRUE(arrived(self->page[1], 30, 1));
}

int main(int argc, char **argv)
{
	find_devices();
	remember_drivers();
	remember_faults();
	/* Here and not in a teardown, which a test that is killed has not */
	atexit(give_back_drivers);
	atexit(give_back_faults);
	return test_harness_run(argc, argv);
}
