// SPDX-License-Identifier: GPL-2.0-only
/*
 * The IOMMU domain that vhost-vdpa makes for a vDPA device which leaves its
 * DMA to the IOMMU, such as one of vp_vdpa: it comes when the node is opened,
 * takes and gives up mappings, and goes with the last of them when the node
 * is closed.
 *
 * Needs such a device at /dev/vhost-vdpa-0, or at the node that the
 * environment names in VHOST_VDPA.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <unistd.h>
#include <linux/vhost.h>

#include "../kselftest_harness.h"

#define NODE		"/dev/vhost-vdpa-0"
#define NR_PAGES	16
/* Far from where the kernel's own DMA addresses are */
#define IOVA		0x10000000ULL

static const char *node(void)
{
	const char *name = getenv("VHOST_VDPA");

	return name ?: NODE;
}

/* Opens the node and makes this process its owner; -1 with errno */
static int open_node(void)
{
	__u64 features = 1ULL << VHOST_BACKEND_F_IOTLB_MSG_V2;
	int fd = open(node(), O_RDWR);

	if (fd < 0)
		return -1;
	if (ioctl(fd, VHOST_SET_OWNER) ||
	    ioctl(fd, VHOST_SET_BACKEND_FEATURES, &features)) {
		int error = errno;

		close(fd);
		errno = error;
		return -1;
	}
	return fd;
}

/* Returns 0 or the errno of the write: EFAULT for all that vhost-vdpa refuses */
static int send_msg(int fd, __u8 type, __u64 iova, __u64 size, void *addr,
		    __u8 perm)
{
	struct vhost_msg_v2 msg = {
		.type = VHOST_IOTLB_MSG_V2,
		.iotlb = {
			.iova = iova,
			.size = size,
			.uaddr = (uintptr_t)addr,
			.perm = perm,
			.type = type,
		},
	};

	return write(fd, &msg, sizeof(msg)) == sizeof(msg) ? 0 : errno;
}

static int map(int fd, __u64 iova, __u64 size, void *addr, __u8 perm)
{
	return send_msg(fd, VHOST_IOTLB_UPDATE, iova, size, addr, perm);
}

static int unmap(int fd, __u64 iova, __u64 size)
{
	return send_msg(fd, VHOST_IOTLB_INVALIDATE, iova, size, NULL, 0);
}

/* How many KiB of this process are pinned, or -1 */
static long pinned_kib(void)
{
	FILE *file = fopen("/proc/self/status", "r");
	char line[128];
	long kib = -1;

	if (!file)
		return -1;
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "VmPin: %ld kB", &kib) == 1)
			break;
	fclose(file);
	return kib;
}

FIXTURE(vdpa_domain)
{
	int fd;
	void *buffer;
	size_t page;
	size_t size;
	long pinned;
};

FIXTURE_SETUP(vdpa_domain)
{
	self->fd = open_node();
	if (self->fd < 0 && (errno == ENOENT || errno == ENXIO))
		SKIP(return, "there is no vDPA device at %s", node());
	ASSERT_LE(0, self->fd)
		TH_LOG("%s: %s", node(), strerror(errno));

	self->page = sysconf(_SC_PAGESIZE);
	self->size = NR_PAGES * self->page;
	self->buffer = mmap(NULL, self->size, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, self->buffer);
	self->pinned = pinned_kib();
	ASSERT_LE(0, self->pinned);
}

FIXTURE_TEARDOWN(vdpa_domain)
{
	if (self->fd >= 0)
		close(self->fd);
}

TEST_F(vdpa_domain, maps_and_unmaps)
{
	ASSERT_EQ(0, map(self->fd, IOVA, self->size, self->buffer,
			 VHOST_ACCESS_RW));
	EXPECT_EQ(self->pinned + (long)(self->size >> 10), pinned_kib());
	ASSERT_EQ(0, unmap(self->fd, IOVA, self->size));
	EXPECT_EQ(self->pinned, pinned_kib());

	/* What was unmapped can be mapped again */
	ASSERT_EQ(0, map(self->fd, IOVA, self->size, self->buffer,
			 VHOST_ACCESS_RW));
	ASSERT_EQ(0, unmap(self->fd, IOVA, self->size));
	EXPECT_EQ(self->pinned, pinned_kib());
}

TEST_F(vdpa_domain, maps_with_each_permission)
{
	static const __u8 perms[] = {
		VHOST_ACCESS_RO, VHOST_ACCESS_WO, VHOST_ACCESS_RW,
	};
	size_t i;

	for (i = 0; i < sizeof(perms); i++)
		EXPECT_EQ(0, map(self->fd, IOVA + i * self->page, self->page,
				 self->buffer + i * self->page, perms[i]));
	EXPECT_EQ(0, unmap(self->fd, IOVA, self->size));
	EXPECT_EQ(self->pinned, pinned_kib());
}

TEST_F(vdpa_domain, refuses_what_is_mapped)
{
	ASSERT_EQ(0, map(self->fd, IOVA, self->size, self->buffer,
			 VHOST_ACCESS_RW));
	EXPECT_EQ(EFAULT, map(self->fd, IOVA + self->page, self->page,
			      self->buffer, VHOST_ACCESS_RW));
	EXPECT_EQ(self->pinned + (long)(self->size >> 10), pinned_kib());
	EXPECT_EQ(0, unmap(self->fd, IOVA, self->size));
}

TEST_F(vdpa_domain, refuses_what_is_no_range)
{
	EXPECT_EQ(EINVAL, map(self->fd, IOVA, 0, self->buffer,
			      VHOST_ACCESS_RW));
	EXPECT_EQ(EFAULT, map(self->fd, -self->page, 2 * self->page,
			      self->buffer, VHOST_ACCESS_RW));
}

/* The range is the aperture of the domain */
TEST_F(vdpa_domain, refuses_what_is_out_of_range)
{
	struct vhost_vdpa_iova_range range;

	ASSERT_EQ(0, ioctl(self->fd, VHOST_VDPA_GET_IOVA_RANGE, &range));
	ASSERT_LT(range.first, range.last);
	if (range.last == ULLONG_MAX)
		SKIP(return, "no address is beyond the aperture here");
	EXPECT_EQ(EFAULT, map(self->fd, range.last + 1, self->page,
			      self->buffer, VHOST_ACCESS_RW));
	EXPECT_EQ(EFAULT, map(self->fd, range.last + 1 - self->page,
			      2 * self->page, self->buffer, VHOST_ACCESS_RW));
	EXPECT_EQ(0, map(self->fd, range.last + 1 - self->page, self->page,
			 self->buffer, VHOST_ACCESS_RW));
}

/* Half of what is to be mapped is not there: nothing of it stays */
TEST_F(vdpa_domain, undoes_what_fails)
{
	ASSERT_EQ(0, munmap(self->buffer + self->size / 2, self->size / 2));
	EXPECT_NE(0, map(self->fd, IOVA, self->size, self->buffer,
			 VHOST_ACCESS_RW));
	EXPECT_EQ(self->pinned, pinned_kib());
	EXPECT_EQ(0, map(self->fd, IOVA, self->size / 2, self->buffer,
			 VHOST_ACCESS_RW));
	EXPECT_EQ(0, unmap(self->fd, IOVA, self->size / 2));
}

/* Another domain each time; the pages of the old one are given back */
TEST_F(vdpa_domain, closes_while_mapped)
{
	int i;

	for (i = 0; i < 4; i++) {
		ASSERT_EQ(0, map(self->fd, IOVA, self->size, self->buffer,
				 VHOST_ACCESS_RW));
		ASSERT_EQ(0, close(self->fd));
		EXPECT_EQ(self->pinned, pinned_kib());
		self->fd = open_node();
		ASSERT_LE(0, self->fd);
	}
}

TEST_F(vdpa_domain, has_one_user)
{
	EXPECT_EQ(-1, open(node(), O_RDWR));
	EXPECT_EQ(EBUSY, errno);
}

TEST_HARNESS_MAIN
