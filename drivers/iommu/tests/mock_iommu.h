/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * An IOMMU driver without hardware, on a bus of its own, for KUnit tests that
 * drive real IOMMU groups. A second one, on another bus, can be had too.
 */
#ifndef __MOCK_IOMMU_H
#define __MOCK_IOMMU_H

#include <kunit/test.h>
#include <linux/device.h>
#include <linux/iommu.h>
#include <linux/xarray.h>

#define MOCK_MAX_GROUPS	64
#define MOCK_MAX_EVENTS	1024

/* What the IOMMU core asks the mock driver to do for a device */
enum mock_event_kind {
	MOCK_JOIN,
	MOCK_DECIDE,
	MOCK_ALLOC,
	MOCK_ATTACH,
};

struct mock_event {
	enum mock_event_kind kind;
	struct mock_device *mdev;
};

/**
 * struct mock_device - a device on a mock bus
 * @dev: the device
 * @group: the index of its group, 0 to MOCK_MAX_GROUPS - 1
 * @def_type: what the mock driver requires for it, or 0
 * @prefers_identity: the mock driver prefers an identity domain for it
 * @untrusted: it is not trusted
 * @fail_probe: the error with which the driver refuses it, or 0
 * @fail_group: the error with which the driver finds no group for it, or 0
 * @fail_allocs: refuse this many domains that are allocated for it
 * @fail_attaches: refuse to attach this many domains to it, from now on
 * @fail_identity_attach: refuse to attach an identity domain to it
 * @fail_paging_attach: refuse to attach a paging domain to it
 * @refuses: the domain that it refuses to be attached to, or NULL
 * @pasid_error: refuse to attach a domain to any PASID of it, with this error
 * @pasids: the domain that each of its PASIDs uses
 * @reports: how often the log said what became of its wish
 * @reason: why it was not granted as the log said last, or NULL
 * @probes: how often the driver was asked whether the device is its
 * @attached: the domain that it uses now, or NULL
 * @attaches: how often a domain was attached to it, or was to be
 * @identity_attaches: how often that was an identity domain
 */
struct mock_device {
	struct device dev;
	unsigned int group;
	int def_type;
	bool prefers_identity;
	bool untrusted;
	int fail_probe;
	int fail_group;
	unsigned int fail_allocs;
	unsigned int fail_attaches;
	bool fail_identity_attach;
	bool fail_paging_attach;
	struct iommu_domain *refuses;
	int pasid_error;
	struct xarray pasids;
	unsigned int reports;
	const char *reason;
	unsigned int probes;
	struct iommu_domain *attached;
	unsigned int attaches;
	unsigned int identity_attaches;
};

/**
 * struct mock_iommu - the mock driver and what it counts
 * @iommu: the registered instance
 * @ops: the operations of this driver, which a test may change before it
 *	registers the driver
 * @driver: what is registered: @ops, or the other driver's when one driver
 *	serves both buses
 * @bus: the bus that its devices are on
 * @fwnode: how the devices of a second driver say that they are its
 * @nb: memory for the bus notifier
 * @groups: the group of each index while it has devices or references
 * @test: the test that uses the driver
 * @registered: @iommu is registered
 * @shadow_on_flush: flushes take so long that one queue for all CPUs is better
 * @identity_allocs: identity domains asked for so far
 * @fail_identity_alloc: refuse the identity domain asked for at this count,
 *	counted from 1; 0 refuses none
 * @fail_paging_allocs: refuse this many paging domains from now on
 * @live_domains: domains allocated and not freed
 * @events: what the driver was asked to do, in this order
 * @nr_events: how often it was asked, also after @events was full
 */
struct mock_iommu {
	struct iommu_device iommu;
	struct iommu_ops ops;
	const struct iommu_ops *driver;
	const struct bus_type *bus;
	struct fwnode_handle fwnode;
	struct notifier_block nb;
	struct iommu_group *groups[MOCK_MAX_GROUPS];
	struct kunit *test;
	bool registered;
	bool shadow_on_flush;
	unsigned int identity_allocs;
	unsigned int fail_identity_alloc;
	unsigned int fail_paging_allocs;
	int live_domains;
	struct mock_event events[MOCK_MAX_EVENTS];
	unsigned int nr_events;
};

static inline struct mock_device *to_mock_device(struct device *dev)
{
	return container_of(dev, struct mock_device, dev);
}

/**
 * struct mock_uevent - a uevent of a group
 * @action: its ACTION
 * @type: its IOMMU_GROUP_TYPE, or nothing
 * @source: its IOMMU_GROUP_TYPE_SOURCE, or nothing
 */
struct mock_uevent {
	char action[16];
	char type[16];
	char source[16];
};

/**
 * struct mock_uevents - what was heard of the groups
 * @count: uevents so far, or since the test has set it to 0
 * @last_group: the number of the group that sent the last one
 * @events: the first of them
 */
struct mock_uevents {
	unsigned int count;
	int last_group;
	struct mock_uevent events[8];
};

extern const struct iommu_domain_ops mock_domain_ops;

struct mock_iommu *mock_iommu_create(struct kunit *test);
struct mock_iommu *mock_iommu_create_second(struct kunit *test,
					    struct mock_iommu *same_driver);
void mock_iommu_register(struct kunit *test, struct mock_iommu *mock);
struct iommu_domain *mock_domain_create(struct device *dev);
struct mock_device *mock_device_alloc(struct kunit *test, unsigned int group);
struct mock_device *mock_device_alloc_on(struct kunit *test,
					 struct mock_iommu *mock,
					 unsigned int group);
void mock_device_set_pasids(struct kunit *test, struct mock_device *mdev,
			    unsigned int bits);
void mock_device_add(struct kunit *test, struct mock_device *mdev);
void mock_device_remove(struct mock_device *mdev);

int mock_group_read(struct mock_device *mdev, const char *file, char *buf,
		    size_t size);
int mock_group_write(struct mock_device *mdev, const char *file,
		     const char *text);
struct mock_uevents *mock_listen(struct kunit *test);

#endif /* __MOCK_IOMMU_H */
