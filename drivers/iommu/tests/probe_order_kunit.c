// SPDX-License-Identifier: GPL-2.0-only
/*
 * Tests of the steps in which a bus is probed: every device joins its group,
 * then every group's type is decided, then all domains are allocated, then all
 * are attached. And of what becomes of a device or a group that fails in one of
 * them, and of the others.
 */
#include <kunit/test.h>
#include <linux/err.h>
#include <linux/iommu.h>
#include <linux/limits.h>

#include "../iommu-priv.h"
#include "mock_iommu.h"

#define MAX_DEVICES	64

/* The order in which the devices come to the bus */
enum order {
	GROUP_BY_GROUP,
	GROUPS_IN_TURN,
	BACKWARDS,
	MIXED,
	NR_ORDERS,
};

static const char * const order_names[] = {
	[GROUP_BY_GROUP]	= "group by group",
	[GROUPS_IN_TURN]	= "groups in turn",
	[BACKWARDS]		= "backwards",
	[MIXED]			= "mixed",
};

struct bus_shape {
	unsigned int devices;
	unsigned int groups;
	enum order order;
};

static const unsigned int device_counts[] = { 1, 2, 3, 7, 16, 33, 64 };
static const unsigned int group_counts[] = { 1, 2, 5, 16 };

static const void *shape_gen_params(const void *prev, char *desc)
{
	static struct bus_shape shape;
	static unsigned int number;

	for (number = prev ? number + 1 : 0;; number++) {
		unsigned int n = number;

		shape.order = n % NR_ORDERS;
		n /= NR_ORDERS;
		shape.groups = group_counts[n % ARRAY_SIZE(group_counts)];
		n /= ARRAY_SIZE(group_counts);
		if (n == ARRAY_SIZE(device_counts))
			return NULL;
		shape.devices = device_counts[n];
		if (shape.groups <= shape.devices)
			break;
	}
	snprintf(desc, KUNIT_PARAM_DESC_SIZE, "%u devices in %u groups, %s",
		 shape.devices, shape.groups, order_names[shape.order]);
	return &shape;
}

/* The group of the device that comes to the bus as number i */
static unsigned int group_of(const struct bus_shape *shape, unsigned int i)
{
	switch (shape->order) {
	case GROUP_BY_GROUP:
		return i * shape->groups / shape->devices;
	case BACKWARDS:
		return (shape->devices - 1 - i) * shape->groups /
		       shape->devices;
	case MIXED:
		/* Every group has a device, and the others go anywhere */
		if (i >= shape->groups)
			return (i * i * 7 + i / 3) % shape->groups;
		return shape->groups - 1 - i;
	default:
		return i % shape->groups;
	}
}

static void add_bus(struct kunit *test, const struct bus_shape *shape,
		    struct mock_device **mdevs)
{
	for (unsigned int i = 0; i < shape->devices; i++) {
		mdevs[i] = mock_device_alloc(test, group_of(shape, i));
		mock_device_add(test, mdevs[i]);
	}
}

static unsigned int count_events(struct mock_iommu *mock,
				 enum mock_event_kind kind)
{
	unsigned int found = 0;

	for (unsigned int i = 0; i < mock->nr_events; i++)
		found += mock->events[i].kind == kind;
	return found;
}

/* No step begins before the one before it has ended, for all of the bus */
static void expect_steps(struct kunit *test, struct mock_iommu *mock,
			 unsigned int from)
{
	KUNIT_ASSERT_LE(test, mock->nr_events, MOCK_MAX_EVENTS);
	for (unsigned int i = from + 1; i < mock->nr_events; i++)
		KUNIT_EXPECT_GE(test, mock->events[i].kind,
				mock->events[i - 1].kind);
}

static void test_order(struct kunit *test)
{
	const struct bus_shape *shape = test->param_value;
	struct mock_device *mdevs[MAX_DEVICES];
	struct mock_iommu *mock = mock_iommu_create(test);

	add_bus(test, shape, mdevs);
	mock_iommu_register(test, mock);

	expect_steps(test, mock, 0);
	KUNIT_EXPECT_EQ(test, count_events(mock, MOCK_JOIN), shape->devices);
	/* Every device is asked once what it needs, for one decision a group */
	KUNIT_EXPECT_EQ(test, count_events(mock, MOCK_DECIDE), shape->devices);
	KUNIT_EXPECT_EQ(test, count_events(mock, MOCK_ALLOC), shape->groups);
	KUNIT_EXPECT_EQ(test, count_events(mock, MOCK_ATTACH), shape->devices);
	/* None was thrown away */
	KUNIT_EXPECT_EQ(test, mock->live_domains, shape->groups);
	for (unsigned int i = 0; i < shape->devices; i++) {
		KUNIT_EXPECT_EQ(test, mdevs[i]->probes, 1);
		KUNIT_EXPECT_EQ(test, mdevs[i]->attaches, 1);
	}
}

/* A device that comes later goes the same way */
static void test_hotplug_order(struct kunit *test)
{
	struct mock_iommu *mock = mock_iommu_create(test);
	struct mock_device *first, *second;

	mock_iommu_register(test, mock);
	first = mock_device_alloc(test, 0);
	second = mock_device_alloc(test, 1);

	mock_device_add(test, first);
	KUNIT_EXPECT_EQ(test, mock->nr_events, 4);
	expect_steps(test, mock, 0);
	mock_device_add(test, second);
	KUNIT_EXPECT_EQ(test, mock->nr_events, 8);
	expect_steps(test, mock, 4);
	KUNIT_EXPECT_EQ(test, mock->live_domains, 2);
}

/* What fails; the others of the bus are to notice nothing */
enum failure {
	DEVICE_PROBE,
	DEVICE_GROUP,
	DECISION,
	ALLOCATION,
	ALLOCATION_ALL,
	ATTACH,
	ATTACH_LAST_DEVICE,
	ATTACH_ALL,
	ATTACH_BOTH,
	NR_FAILURES,
};

static const char * const failure_names[] = {
	[DEVICE_PROBE]		= "the driver refuses a device",
	[DEVICE_GROUP]		= "a device has no group",
	[DECISION]		= "no type suits a group",
	[ALLOCATION]		= "no default domain can be allocated",
	[ALLOCATION_ALL]	= "no domain at all can be allocated",
	[ATTACH]		= "a device cannot be attached",
	[ATTACH_LAST_DEVICE]	= "a group's last device cannot be attached",
	[ATTACH_ALL]		= "a device can be attached to no domain",
	[ATTACH_BOTH]		= "neither a wish nor the next best attaches",
};

#define NR_GROUPS	5
#define GROUP_SIZE	3

/* What fails, and in which group of the bus */
static const void *failure_gen_params(const void *prev, char *desc)
{
	static unsigned int number;

	number = prev ? number + 1 : 0;
	if (number == NR_FAILURES * NR_GROUPS)
		return NULL;
	snprintf(desc, KUNIT_PARAM_DESC_SIZE, "%s, group %u",
		 failure_names[number / NR_GROUPS], number % NR_GROUPS);
	return &number;
}

static void plant_failure(struct mock_device **members, enum failure failure)
{
	switch (failure) {
	case DEVICE_PROBE:
		members[1]->fail_probe = -EIO;
		break;
	case DEVICE_GROUP:
		members[1]->fail_group = -EIO;
		break;
	case DECISION:
		members[1]->untrusted = true;
		members[1]->def_type = IOMMU_DOMAIN_IDENTITY;
		break;
	case ALLOCATION_ALL:
		members[0]->fail_allocs = UINT_MAX;
		break;
	case ATTACH:
		members[0]->fail_attaches = 1;
		break;
	case ATTACH_LAST_DEVICE:
		members[GROUP_SIZE - 1]->fail_attaches = 1;
		break;
	case ATTACH_ALL:
		members[1]->fail_attaches = UINT_MAX;
		break;
	case ATTACH_BOTH:
		for (int i = 0; i < GROUP_SIZE; i++) {
			members[i]->dev.iommu_passthrough = true;
			members[i]->dev.iommu_wish_parameter = true;
		}
		members[1]->fail_attaches = 2;
		break;
	default:
		break;
	}
}

/* The group that can have no default domain, though one that blocks */
static unsigned int poor_group;

static struct iommu_domain *alloc_default(struct device *dev)
{
	if (to_mock_device(dev)->group == poor_group)
		return ERR_PTR(-ENOMEM);
	return mock_domain_create(dev);
}

static struct iommu_domain *
alloc_user(struct device *dev, u32 flags, struct iommu_domain *parent,
	   const struct iommu_user_data *user_data)
{
	return mock_domain_create(dev);
}

/* The members of the groups take turns in coming to the bus */
static void add_groups(struct kunit *test,
		       struct mock_device *mdevs[NR_GROUPS][GROUP_SIZE])
{
	for (int member = 0; member < GROUP_SIZE; member++)
		for (int group = 0; group < NR_GROUPS; group++)
			mdevs[group][member] = mock_device_alloc(test, group);
}

static struct mock_iommu *create_translating(struct kunit *test)
{
	if (iommu_default_passthrough())
		kunit_skip(test, "the system's default is identity");
	return mock_iommu_create(test);
}

static void expect_works(struct kunit *test, struct mock_device *mdev)
{
	KUNIT_ASSERT_NOT_NULL(test, mdev->dev.iommu_group);
	KUNIT_ASSERT_NOT_NULL(test, mdev->attached);
	KUNIT_EXPECT_TRUE(test, iommu_is_dma_domain(mdev->attached));
	KUNIT_EXPECT_TRUE(test, mdev->dev.dma_iommu);
	KUNIT_ASSERT_EQ(test, iommu_device_use_default_domain(&mdev->dev), 0);
	iommu_device_unuse_default_domain(&mdev->dev);
}

/* No driver binds, now or later, and nobody can own it */
static void expect_no_driver(struct kunit *test, struct mock_device *mdev)
{
	KUNIT_EXPECT_FALSE(test, mdev->dev.dma_iommu);
	KUNIT_EXPECT_EQ(test, iommu_device_use_default_domain(&mdev->dev),
			-EACCES);
	KUNIT_EXPECT_LT(test, iommu_device_claim_dma_owner(&mdev->dev, test),
			0);
}

static void expect_blocked(struct kunit *test, struct mock_device *mdev)
{
	char type[32] = "";

	expect_no_driver(test, mdev);
	mock_group_read(mdev, "type", type, sizeof(type));
	KUNIT_EXPECT_STREQ(test, strim(type), "unknown");
	KUNIT_ASSERT_NOT_NULL(test, mdev->attached);
	/* The mock driver has no blocking domain: an empty one blocks, too */
	KUNIT_EXPECT_EQ(test, mdev->attached->type, IOMMU_DOMAIN_UNMANAGED);
}

static void expect_unblocked(struct kunit *test, struct mock_device *mdev)
{
	expect_no_driver(test, mdev);
	KUNIT_ASSERT_NOT_NULL(test, mdev->dev.iommu_group);
	KUNIT_EXPECT_NULL(test, mdev->attached);
}

static void expect_failed(struct kunit *test, struct mock_device **members,
			  enum failure failure)
{
	for (int i = 0; i < GROUP_SIZE; i++) {
		struct mock_device *mdev = members[i];

		switch (failure) {
		case DEVICE_PROBE:
		case DEVICE_GROUP:
			if (i != 1) {
				expect_works(test, mdev);
				break;
			}
			expect_no_driver(test, mdev);
			KUNIT_EXPECT_NULL(test, mdev->dev.iommu_group);
			break;
		case ALLOCATION_ALL:
			expect_unblocked(test, mdev);
			break;
		case ATTACH_ALL:
			if (i == 1)
				expect_unblocked(test, mdev);
			else
				expect_blocked(test, mdev);
			break;
		default:
			expect_blocked(test, mdev);
		}
	}
}

/* How many domains there are: one for each good group, and one that blocks */
static void expect_domains(struct kunit *test, struct mock_iommu *mock,
			   enum failure failure)
{
	int domains = NR_GROUPS;

	if (failure == ALLOCATION_ALL)
		domains--;
	/*
	 * Nobody knows what a device does that cannot be moved, so the domain
	 * that it may use is lost rather than freed.
	 */
	if (failure == ATTACH_ALL)
		mock->live_domains--;
	KUNIT_EXPECT_EQ(test, mock->live_domains, domains);
}

static void test_failure(struct kunit *test)
{
	unsigned int number = *(const unsigned int *)test->param_value;
	enum failure failure = number / NR_GROUPS;
	unsigned int bad = number % NR_GROUPS;
	struct mock_device *mdevs[NR_GROUPS][GROUP_SIZE];
	struct mock_iommu *mock = create_translating(test);
	struct mock_device *late;

	add_groups(test, mdevs);
	plant_failure(mdevs[bad], failure);
	if (failure == ALLOCATION) {
		poor_group = bad;
		mock->ops.domain_alloc_paging = alloc_default;
		mock->ops.domain_alloc_user = alloc_user;
	}
	for (int member = 0; member < GROUP_SIZE; member++)
		for (int group = 0; group < NR_GROUPS; group++)
			mock_device_add(test, mdevs[group][member]);
	mock_iommu_register(test, mock);

	for (int group = 0; group < NR_GROUPS; group++) {
		if (group == bad) {
			expect_failed(test, mdevs[group], failure);
			continue;
		}
		for (int member = 0; member < GROUP_SIZE; member++) {
			expect_works(test, mdevs[group][member]);
			KUNIT_EXPECT_EQ(test, mdevs[group][member]->attaches,
					1);
		}
	}
	expect_domains(test, mock, failure);

	/* The IOMMU is still there for devices that come later */
	late = mock_device_alloc(test, NR_GROUPS);
	mock_device_add(test, late);
	expect_works(test, late);
}

/* The same for the devices of one group that come one by one */
static void test_hotplug_failure(struct kunit *test)
{
	struct mock_iommu *mock = create_translating(test);
	struct mock_device *good, *bad, *refused;

	mock_iommu_register(test, mock);
	good = mock_device_alloc(test, 0);
	bad = mock_device_alloc(test, 1);
	refused = mock_device_alloc(test, 0);
	bad->fail_attaches = 1;
	refused->fail_probe = -EIO;
	mock_device_add(test, bad);
	mock_device_add(test, good);
	mock_device_add(test, refused);

	expect_blocked(test, bad);
	expect_works(test, good);
	expect_no_driver(test, refused);
	KUNIT_EXPECT_NULL(test, refused->dev.iommu_group);
}

static struct mock_device *isolated_device(struct kunit *test)
{
	struct mock_device *mdev = mock_device_alloc(test, 0);

	mdev->fail_attaches = 1;
	mock_device_add(test, mdev);
	expect_blocked(test, mdev);
	return mdev;
}

/* Another device that joins lets the group try again, as often as it takes */
static void test_joiner_mends(struct kunit *test)
{
	struct mock_iommu *mock = create_translating(test);
	struct mock_uevents *events = mock_listen(test);
	struct mock_device *mdev, *bad, *next;

	mock_iommu_register(test, mock);
	mdev = isolated_device(test);
	bad = mock_device_alloc(test, 0);
	bad->fail_attaches = 1;
	mock_device_add(test, bad);
	expect_blocked(test, mdev);
	expect_blocked(test, bad);
	KUNIT_EXPECT_EQ(test, events->count, 0);

	next = mock_device_alloc(test, 0);
	mock_device_add(test, next);
	expect_works(test, mdev);
	expect_works(test, bad);
	expect_works(test, next);
	KUNIT_EXPECT_PTR_EQ(test, mdev->attached, next->attached);
	KUNIT_EXPECT_EQ(test, events->count, 1);
	KUNIT_EXPECT_STREQ(test, events->events[0].source, "default");
}

/* A write to the type file does, too; one that fails changes nothing */
static void test_write_mends(struct kunit *test)
{
	struct mock_iommu *mock = create_translating(test);
	struct mock_device *mdev;

	mock_iommu_register(test, mock);
	mdev = isolated_device(test);
	mdev->fail_attaches = 1;
	KUNIT_EXPECT_EQ(test, mock_group_write(mdev, "type", "DMA"), -EINVAL);
	expect_blocked(test, mdev);
	mdev->fail_allocs = 1;
	KUNIT_EXPECT_EQ(test, mock_group_write(mdev, "type", "identity"),
			-ENOMEM);
	expect_blocked(test, mdev);

	KUNIT_EXPECT_EQ(test, mock_group_write(mdev, "type", "DMA"), 3);
	expect_works(test, mdev);
	KUNIT_EXPECT_EQ(test, mdev->attached->type, IOMMU_DOMAIN_DMA);
}

/* A group that failed leaves nothing behind when its devices go */
static void test_isolated_leaves(struct kunit *test)
{
	struct mock_iommu *mock = create_translating(test);
	struct mock_device *mdev;

	mock_iommu_register(test, mock);
	mdev = isolated_device(test);
	mock_device_remove(mdev);
	KUNIT_EXPECT_EQ(test, mock->live_domains, 0);
	KUNIT_EXPECT_NULL(test, mock->groups[0]);

	/* And one in its place begins anew */
	mdev = mock_device_alloc(test, 0);
	mock_device_add(test, mdev);
	expect_works(test, mdev);
}

/* A device that is not this IOMMU's is none that failed */
static void test_not_ours(struct kunit *test)
{
	static const int errors[] = { -ENODEV, -EPROBE_DEFER };
	struct mock_iommu *mock = mock_iommu_create(test);
	struct mock_device *mdev;

	for (int i = 0; i < ARRAY_SIZE(errors); i++) {
		mdev = mock_device_alloc(test, 0);
		mdev->fail_probe = errors[i];
		mock_device_add(test, mdev);
		if (!i)
			mock_iommu_register(test, mock);
		KUNIT_EXPECT_EQ(test, mdev->probes, 1);
		KUNIT_EXPECT_NULL(test, mdev->dev.iommu_group);
		KUNIT_EXPECT_EQ(test,
				iommu_device_use_default_domain(&mdev->dev), 0);
	}
}

/* Another instance of the first bus's IOMMU, for as long as the test runs */
struct instance {
	struct iommu_device iommu;
	struct notifier_block nb;
	const struct bus_type *bus;
};

static void instance_unregister(void *data)
{
	struct instance *instance = data;

	iommu_device_unregister_bus(&instance->iommu, instance->bus,
				    &instance->nb);
	iommu_device_sysfs_remove(&instance->iommu);
}

static void register_instance(struct kunit *test, struct mock_iommu *mock)
{
	struct instance *instance;

	instance = kunit_kzalloc(test, sizeof(*instance), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, instance);
	instance->bus = mock->bus;
	KUNIT_ASSERT_EQ(test,
			iommu_device_sysfs_add(&instance->iommu, NULL, NULL,
					       "iommu_kunit_instance"), 0);
	KUNIT_ASSERT_EQ(test,
			iommu_device_register_bus(&instance->iommu,
						  mock->driver, mock->bus,
						  &instance->nb), 0);
	KUNIT_ASSERT_EQ(test,
			kunit_add_action_or_reset(test, instance_unregister,
						  instance), 0);
}

/* Instances register one after another, with devices before and in between */
static void test_instances(struct kunit *test)
{
	static const struct bus_shape shape = { 16, 5, MIXED };
	struct mock_device *mdevs[MAX_DEVICES];
	struct mock_iommu *mock = mock_iommu_create(test);
	struct mock_device *failed, *later;
	unsigned int events;

	add_bus(test, &shape, mdevs);
	failed = mock_device_alloc(test, 0);
	failed->fail_probe = -EIO;
	mock_device_add(test, failed);
	mock_iommu_register(test, mock);
	events = mock->nr_events;
	failed->fail_probe = 0;
	register_instance(test, mock);

	/* Only the one that had no group yet was probed, and works now */
	for (int i = 0; i < shape.devices; i++) {
		KUNIT_EXPECT_EQ(test, mdevs[i]->probes, 1);
		KUNIT_EXPECT_EQ(test, mdevs[i]->attaches, 1);
	}
	KUNIT_EXPECT_EQ(test, failed->probes, 2);
	KUNIT_ASSERT_NOT_NULL(test, failed->dev.iommu_group);
	KUNIT_EXPECT_EQ(test, iommu_device_use_default_domain(&failed->dev), 0);
	iommu_device_unuse_default_domain(&failed->dev);
	KUNIT_ASSERT_GT(test, mock->nr_events, events);
	for (unsigned int i = events; i < mock->nr_events; i++) {
		/* That its group got another member is nothing to the others */
		KUNIT_EXPECT_EQ(test, mock->events[i].mdev->group,
				failed->group);
		if (mock->events[i].kind == MOCK_JOIN ||
		    mock->events[i].kind == MOCK_ATTACH)
			KUNIT_EXPECT_PTR_EQ(test, mock->events[i].mdev, failed);
	}
	KUNIT_EXPECT_EQ(test, mock->live_domains, shape.groups);

	/* Both of them are told of this one */
	later = mock_device_alloc(test, shape.groups);
	mock_device_add(test, later);
	KUNIT_EXPECT_EQ(test, later->probes, 1);
	KUNIT_EXPECT_EQ(test, later->attaches, 1);
	KUNIT_EXPECT_EQ(test, mock->live_domains, shape.groups + 1);
}

/* One driver serves two buses, which are probed one after the other */
static void test_two_buses(struct kunit *test)
{
	struct mock_iommu *first = mock_iommu_create(test);
	struct mock_iommu *second = mock_iommu_create_second(test, first);
	struct mock_device *mdevs[2][6];

	for (int i = 0; i < ARRAY_SIZE(mdevs[0]); i++) {
		mdevs[0][i] = mock_device_alloc_on(test, first, i % 3);
		mdevs[1][i] = mock_device_alloc_on(test, second, i % 2);
		mock_device_add(test, mdevs[0][i]);
		mock_device_add(test, mdevs[1][i]);
	}
	mock_iommu_register(test, first);
	KUNIT_EXPECT_EQ(test, second->nr_events, 0);
	mock_iommu_register(test, second);

	expect_steps(test, first, 0);
	expect_steps(test, second, 0);
	KUNIT_EXPECT_EQ(test, first->live_domains, 3);
	KUNIT_EXPECT_EQ(test, second->live_domains, 2);
	for (int i = 0; i < ARRAY_SIZE(mdevs[0]); i++) {
		KUNIT_EXPECT_EQ(test, mdevs[0][i]->probes, 1);
		KUNIT_EXPECT_EQ(test, mdevs[1][i]->probes, 1);
	}
}

/* A driver finds its instance by firmware's node while it is registered */
static void test_found_by_node(struct kunit *test)
{
	struct mock_iommu *first = mock_iommu_create(test);
	struct mock_iommu *second = mock_iommu_create_second(test, NULL);
	struct mock_device *mdev = mock_device_alloc_on(test, second, 0);

	mock_iommu_register(test, first);
	KUNIT_EXPECT_NULL(test, iommu_device_from_fwnode(&second->fwnode));
	mock_iommu_register(test, second);
	KUNIT_EXPECT_PTR_EQ(test, iommu_device_from_fwnode(&second->fwnode),
			    &second->iommu);
	/* When it is probed, when it is released and after all: in the mock */
	mock_device_add(test, mdev);
	KUNIT_EXPECT_EQ(test, mdev->probes, 1);
}

static struct kunit_case probe_order_cases[] = {
	KUNIT_CASE_PARAM(test_order, shape_gen_params),
	KUNIT_CASE(test_hotplug_order),
	KUNIT_CASE_PARAM(test_failure, failure_gen_params),
	KUNIT_CASE(test_hotplug_failure),
	KUNIT_CASE(test_joiner_mends),
	KUNIT_CASE(test_write_mends),
	KUNIT_CASE(test_isolated_leaves),
	KUNIT_CASE(test_not_ours),
	KUNIT_CASE(test_instances),
	KUNIT_CASE(test_two_buses),
	KUNIT_CASE(test_found_by_node),
	{}
};

static struct kunit_suite probe_order_suite = {
	.name = "iommu_probe_order",
	.test_cases = probe_order_cases,
};

kunit_test_suite(probe_order_suite);
