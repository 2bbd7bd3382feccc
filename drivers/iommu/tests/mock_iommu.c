// SPDX-License-Identifier: GPL-2.0-only
/*
 * An IOMMU driver without hardware, on a bus of its own, for KUnit tests that
 * drive real IOMMU groups.
 *
 * A test creates the bus, adds devices, and registers the driver: the devices
 * that are there already are probed as at boot, later ones as hotplugged. All
 * of it is undone when the test ends.
 */
#include <kunit/static_stub.h>
#include <linux/err.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/kernfs.h>
#include <linux/kobject.h>
#include <linux/mount.h>
#include <linux/property.h>
#include <linux/sizes.h>
#include <linux/slab.h>

#include "../default-type.h"
#include "../iommu-priv.h"
#include "mock_iommu.h"

/* As on the buses of real devices: a driver that is bound uses the group */
static int mock_dma_configure(struct device *dev)
{
	return iommu_device_use_default_domain(dev);
}

static void mock_dma_cleanup(struct device *dev)
{
	iommu_device_unuse_default_domain(dev);
}

static const struct bus_type mock_buses[] = {
	{
		.name = "iommu_kunit",
		.dma_configure = mock_dma_configure,
		.dma_cleanup = mock_dma_cleanup,
	},
	{ .name = "iommu_kunit_second" },
};

/* What is in use, and on which bus; tests run one after the other */
static struct mock_iommu *mocks[ARRAY_SIZE(mock_buses)];

struct mock_domain {
	struct iommu_domain domain;
	struct mock_iommu *mock;
	atomic_t pasids;
};

/* The mock on the device's bus, or NULL if it is no mock device */
static struct mock_iommu *mock_of(struct device *dev)
{
	for (int i = 0; i < ARRAY_SIZE(mock_buses); i++)
		if (dev->bus == &mock_buses[i])
			return mocks[i];
	return NULL;
}

static void mock_log(struct mock_iommu *mock, enum mock_event_kind kind,
		     struct device *dev)
{
	if (mock->nr_events < MOCK_MAX_EVENTS)
		mock->events[mock->nr_events] = (struct mock_event) {
			.kind = kind,
			.mdev = to_mock_device(dev),
		};
	mock->nr_events++;
}

static struct mock_domain *to_mock_domain(struct iommu_domain *domain)
{
	return container_of(domain, struct mock_domain, domain);
}

static void mock_domain_free(struct iommu_domain *domain)
{
	struct mock_domain *mdom = to_mock_domain(domain);

	KUNIT_EXPECT_EQ(mdom->mock->test, atomic_read(&mdom->pasids), 0);
	mdom->mock->live_domains--;
	kfree(mdom);
}

static int mock_attach_dev(struct iommu_domain *domain, struct device *dev)
{
	struct mock_device *mdev = to_mock_device(dev);

	mock_log(mock_of(dev), MOCK_ATTACH, dev);
	mdev->attaches++;
	mdev->identity_attaches += domain->type == IOMMU_DOMAIN_IDENTITY;
	if (domain->type == IOMMU_DOMAIN_IDENTITY ? mdev->fail_identity_attach :
						    mdev->fail_paging_attach)
		return -EINVAL;
	if (domain == mdev->refuses)
		return -EINVAL;
	if (mdev->fail_attaches) {
		mdev->fail_attaches--;
		return -EINVAL;
	}
	mdev->attached = domain;
	return 0;
}

static int mock_set_dev_pasid(struct iommu_domain *domain, struct device *dev,
			      ioasid_t pasid, struct iommu_domain *old)
{
	struct mock_device *mdev = to_mock_device(dev);
	int ret;

	iommu_group_mutex_assert(dev);
	if (mdev->pasid_error)
		return mdev->pasid_error;
	ret = xa_insert(&mdev->pasids, pasid, domain, GFP_KERNEL);
	KUNIT_EXPECT_EQ(mock_of(dev)->test, ret, 0);
	if (!ret)
		atomic_inc(&to_mock_domain(domain)->pasids);
	return ret;
}

static void mock_remove_dev_pasid(struct device *dev, ioasid_t pasid,
				  struct iommu_domain *domain)
{
	struct mock_device *mdev = to_mock_device(dev);

	iommu_group_mutex_assert(dev);
	KUNIT_EXPECT_PTR_EQ(mock_of(dev)->test, xa_erase(&mdev->pasids, pasid),
			    (void *)domain);
	atomic_dec(&to_mock_domain(domain)->pasids);
}

/* There is nothing to flush, but who can defer it has to be able to do it */
static void mock_flush_iotlb_all(struct iommu_domain *domain)
{
}

const struct iommu_domain_ops mock_domain_ops = {
	.attach_dev = mock_attach_dev,
	.flush_iotlb_all = mock_flush_iotlb_all,
	.set_dev_pasid = mock_set_dev_pasid,
	.free = mock_domain_free,
};

/**
 * mock_domain_create - allocate a domain as every operation of the driver does
 * @dev: the device that it is for
 *
 * Leaves to the core what the core fills in.
 *
 * Return: the domain, or ERR_PTR(-ENOMEM).
 */
struct iommu_domain *mock_domain_create(struct device *dev)
{
	struct mock_device *mdev = to_mock_device(dev);
	struct mock_domain *mdom;

	mock_log(mock_of(dev), MOCK_ALLOC, dev);
	if (mdev->fail_allocs) {
		mdev->fail_allocs--;
		return ERR_PTR(-ENOMEM);
	}
	mdom = kzalloc(sizeof(*mdom), GFP_KERNEL);
	if (!mdom)
		return ERR_PTR(-ENOMEM);
	mdom->mock = mock_of(dev);
	mdom->domain.geometry.aperture_end = U64_MAX;
	mdom->domain.geometry.force_aperture = true;
	mdom->mock->live_domains++;
	return &mdom->domain;
}

static struct iommu_domain *mock_domain_alloc_paging(struct device *dev)
{
	struct mock_iommu *mock = mock_of(dev);

	if (mock->fail_paging_allocs) {
		mock->fail_paging_allocs--;
		return ERR_PTR(-ENOMEM);
	}
	return mock_domain_create(dev);
}

static struct iommu_domain *mock_domain_alloc_identity(struct device *dev)
{
	struct mock_iommu *mock = mock_of(dev);

	if (++mock->identity_allocs == mock->fail_identity_alloc)
		return ERR_PTR(-ENOMEM);
	return mock_domain_create(dev);
}

/* As a driver does that has several instances */
static void mock_expect_found(struct mock_iommu *mock)
{
	if (mock->iommu.fwnode)
		KUNIT_EXPECT_PTR_EQ(mock->test,
				    iommu_device_from_fwnode(mock->iommu.fwnode),
				    &mock->iommu);
}

static struct iommu_device *mock_probe_device(struct device *dev)
{
	struct mock_iommu *mock = mock_of(dev);

	if (!mock)
		return ERR_PTR(-ENODEV);
	mock_expect_found(mock);
	to_mock_device(dev)->probes++;
	if (to_mock_device(dev)->fail_probe)
		return ERR_PTR(to_mock_device(dev)->fail_probe);
	dev->iommu->shadow_on_flush = mock->shadow_on_flush;
	return &mock->iommu;
}

/* The group's devices go their way one by one; none may use a freed domain */
static void mock_release_device(struct device *dev)
{
	struct mock_device *mdev = to_mock_device(dev);

	KUNIT_EXPECT_TRUE(mock_of(dev)->test, xa_empty(&mdev->pasids));
	mock_expect_found(mock_of(dev));
	mdev->attached = NULL;
}

static void mock_group_released(void *data)
{
	struct iommu_group **slot = data;

	*slot = NULL;
}

static struct iommu_group *mock_device_group(struct device *dev)
{
	struct mock_iommu *mock = mock_of(dev);
	struct iommu_group **slot = &mock->groups[to_mock_device(dev)->group];
	struct iommu_group *group;

	mock_log(mock, MOCK_JOIN, dev);
	if (to_mock_device(dev)->fail_group)
		return ERR_PTR(to_mock_device(dev)->fail_group);
	if (*slot)
		return iommu_group_ref_get(*slot);
	group = iommu_group_alloc();
	if (IS_ERR(group))
		return group;
	iommu_group_set_iommudata(group, slot, mock_group_released);
	*slot = group;
	return group;
}

static bool mock_capable(struct device *dev, enum iommu_cap cap)
{
	return cap == IOMMU_CAP_DEFERRED_FLUSH;
}

static int mock_def_domain_type(struct device *dev)
{
	mock_log(mock_of(dev), MOCK_DECIDE, dev);
	return to_mock_device(dev)->def_type;
}

static bool mock_prefers_identity(struct device *dev)
{
	return to_mock_device(dev)->prefers_identity;
}

/* Only PCI devices can be untrusted; here the core asks this function */
static bool mock_device_untrusted(struct device *dev)
{
	return mock_of(dev) && to_mock_device(dev)->untrusted;
}

/* Called in place of what writes the log */
static void mock_report_wish(struct device *dev, int group_id,
			     const struct iommu_type_decision *decision,
			     unsigned int type)
{
	struct mock_device *mdev = to_mock_device(dev);
	struct device *culprit;

	if (!mock_of(dev) ||
	    (!dev->iommu_passthrough && !dev->iommu_translated))
		return;
	mdev->reports++;
	mdev->reason = iommu_wish_refused(dev, decision, type, &culprit);
}

static const struct iommu_ops mock_ops = {
	.capable = mock_capable,
	.domain_alloc_paging = mock_domain_alloc_paging,
	.domain_alloc_identity = mock_domain_alloc_identity,
	.probe_device = mock_probe_device,
	.release_device = mock_release_device,
	.device_group = mock_device_group,
	.def_domain_type = mock_def_domain_type,
	.prefers_identity = mock_prefers_identity,
	.remove_dev_pasid = mock_remove_dev_pasid,
	.default_domain_ops = &mock_domain_ops,
	.pgsize_bitmap = SZ_4K,
};

static const struct fwnode_operations mock_fwnode_ops = {};

static void mock_bus_unregister(void *data)
{
	bus_unregister(data);
}

static void mock_iommu_unregister(void *data)
{
	struct mock_iommu *mock = data;

	if (mock->registered)
		iommu_device_unregister_bus(&mock->iommu, mock->bus, &mock->nb);
	if (mock->iommu.fwnode)
		KUNIT_EXPECT_NULL(mock->test,
				  iommu_device_from_fwnode(mock->iommu.fwnode));
	iommu_device_sysfs_remove(&mock->iommu);
	/* Every group is gone, and its domains with it */
	KUNIT_EXPECT_EQ(mock->test, mock->live_domains, 0);
	mocks[mock->bus - mock_buses] = NULL;
}

static struct mock_iommu *mock_create_on(struct kunit *test, unsigned int bus)
{
	struct mock_iommu *mock;

	mock = kunit_kzalloc(test, sizeof(*mock), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, mock);
	mock->test = test;
	mock->ops = mock_ops;
	mock->driver = &mock->ops;
	mock->bus = &mock_buses[bus];
	KUNIT_ASSERT_EQ(test, bus_register(mock->bus), 0);
	KUNIT_ASSERT_EQ(test,
			kunit_add_action_or_reset(test, mock_bus_unregister,
						  (void *)mock->bus), 0);
	KUNIT_ASSERT_EQ(test,
			iommu_device_sysfs_add(&mock->iommu, NULL, NULL, "%s",
					       mock->bus->name), 0);
	mocks[bus] = mock;
	KUNIT_ASSERT_EQ(test,
			kunit_add_action_or_reset(test, mock_iommu_unregister,
						  mock), 0);
	return mock;
}

/**
 * mock_iommu_create - make the mock bus and an IOMMU driver for it
 * @test: the test that uses them, at whose end they go
 *
 * Context: process context. Skips the test when another IOMMU driver answers
 * for devices that no firmware describes, as it would be asked first.
 *
 * Return: the driver, not registered yet. Never NULL: the test fails instead.
 */
struct mock_iommu *mock_iommu_create(struct kunit *test)
{
	if (iommu_ops_from_fwnode(NULL))
		kunit_skip(test, "this machine has an IOMMU of its own");

	kunit_activate_static_stub(test, iommu_device_untrusted,
				   mock_device_untrusted);
	kunit_activate_static_stub(test, iommu_report_wish, mock_report_wish);
	return mock_create_on(test, 0);
}

/**
 * mock_iommu_create_second - make another bus with an IOMMU
 * @test: the test that uses them, at whose end they go
 * @same_driver: the first IOMMU, whose driver serves this one too, or NULL for
 *	a driver of its own
 *
 * Return: the second IOMMU, not registered yet. Never NULL.
 */
struct mock_iommu *mock_iommu_create_second(struct kunit *test,
					    struct mock_iommu *same_driver)
{
	struct mock_iommu *mock = mock_create_on(test, 1);

	if (same_driver) {
		mock->driver = same_driver->driver;
	} else {
		/* Devices that name no IOMMU are offered to the first driver */
		fwnode_init(&mock->fwnode, &mock_fwnode_ops);
		mock->iommu.fwnode = &mock->fwnode;
	}
	return mock;
}

/**
 * mock_iommu_register - register the mock driver, which probes its bus
 * @test: the test
 * @mock: the driver; it stays registered, whatever its devices do
 */
void mock_iommu_register(struct kunit *test, struct mock_iommu *mock)
{
	KUNIT_ASSERT_EQ(test,
			iommu_device_register_bus(&mock->iommu, mock->driver,
						  mock->bus, &mock->nb), 0);
	mock->registered = true;
}

static void mock_device_release(struct device *dev)
{
	struct mock_device *mdev = to_mock_device(dev);

	xa_destroy(&mdev->pasids);
	kfree(mdev);
}

static void mock_device_put(void *data)
{
	struct mock_device *mdev = data;

	if (device_is_registered(&mdev->dev))
		device_del(&mdev->dev);
	put_device(&mdev->dev);
}

/**
 * mock_device_alloc_on - make a device that is not on its bus yet
 * @test: the test that uses it, at whose end it goes
 * @mock: the IOMMU that it is behind
 * @group: the index of its group among those of @mock
 *
 * Return: the device, to which wishes may be given. Never NULL.
 */
struct mock_device *mock_device_alloc_on(struct kunit *test,
					 struct mock_iommu *mock,
					 unsigned int group)
{
	static unsigned int serial;
	struct mock_device *mdev;

	KUNIT_ASSERT_LT(test, group, MOCK_MAX_GROUPS);
	mdev = kzalloc(sizeof(*mdev), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, mdev);
	mdev->group = group;
	xa_init(&mdev->pasids);
	device_initialize(&mdev->dev);
	mdev->dev.bus = mock->bus;
	mdev->dev.release = mock_device_release;
	KUNIT_ASSERT_EQ(test,
			kunit_add_action_or_reset(test, mock_device_put, mdev),
			0);
	KUNIT_ASSERT_EQ(test, dev_set_name(&mdev->dev, "mock%u", serial++), 0);
	return mdev;
}

/**
 * mock_device_alloc - make a device behind the first IOMMU
 * @test: the test that uses it, at whose end it goes
 * @group: the index of its group
 *
 * Return: the device, as mock_device_alloc_on() does.
 */
struct mock_device *mock_device_alloc(struct kunit *test, unsigned int group)
{
	return mock_device_alloc_on(test, mocks[0], group);
}

/**
 * mock_device_set_pasids - give a device PASIDs, before it is added
 * @test: the test
 * @mdev: the device; what the IOMMU can do, its max_pasids, limits it too
 * @bits: how many bits its PASIDs have
 */
void mock_device_set_pasids(struct kunit *test, struct mock_device *mdev,
			    unsigned int bits)
{
	const struct property_entry properties[] = {
		PROPERTY_ENTRY_U32("pasid-num-bits", bits),
		{}
	};

	/* It goes with the device, when that is removed */
	KUNIT_ASSERT_EQ(test,
			device_create_managed_software_node(&mdev->dev,
							    properties, NULL),
			0);
}

/**
 * mock_device_add - put a device on its bus
 * @test: the test
 * @mdev: the device; it joins its group if the driver is registered, as a
 *	second driver must be
 */
void mock_device_add(struct kunit *test, struct mock_device *mdev)
{
	struct fwnode_handle *fwnode = mock_of(&mdev->dev)->iommu.fwnode;

	if (fwnode) {
		mutex_lock(&iommu_probe_device_lock);
		KUNIT_EXPECT_EQ(test, iommu_fwspec_init(&mdev->dev, fwnode), 0);
		mutex_unlock(&iommu_probe_device_lock);
	}
	KUNIT_ASSERT_EQ(test, device_add(&mdev->dev), 0);
}

/**
 * mock_device_remove - take a device from the bus
 * @mdev: the device; its memory stays until the test ends
 */
void mock_device_remove(struct mock_device *mdev)
{
	device_del(&mdev->dev);
}

static int mock_group_access(struct mock_device *mdev, const char *name,
			     int flags,
			     ssize_t (*access)(struct file *file, void *data),
			     void *data)
{
	struct file_system_type *sysfs;
	struct vfsmount *mnt;
	struct file *file;
	char path[64];
	int ret;

	if (!mdev->dev.iommu_group)
		return -ENODEV;
	if (snprintf(path, sizeof(path), "kernel/iommu_groups/%d/%s",
		     iommu_group_id(mdev->dev.iommu_group), name) >=
	    sizeof(path))
		return -ENAMETOOLONG;

	sysfs = get_fs_type("sysfs");
	if (!sysfs)
		return -ENODEV;
	mnt = kern_mount(sysfs);
	if (IS_ERR(mnt)) {
		ret = PTR_ERR(mnt);
		goto put_type;
	}
	file = file_open_root_mnt(mnt, path, flags, 0);
	if (IS_ERR(file)) {
		ret = PTR_ERR(file);
		goto unmount;
	}
	ret = access(file, data);
	fput(file);
	/* The file's last reference to the mount goes with delayed work */
	flush_delayed_fput();
unmount:
	kern_unmount(mnt);
put_type:
	module_put(sysfs->owner);
	return ret;
}

struct mock_buffer {
	char *data;
	size_t size;
};

static ssize_t mock_read(struct file *file, void *data)
{
	struct mock_buffer *buffer = data;
	loff_t pos = 0;
	ssize_t len;

	len = kernel_read(file, buffer->data, buffer->size - 1, &pos);
	if (len < 0)
		return len;
	buffer->data[len] = '\0';
	return len;
}

static ssize_t mock_write(struct file *file, void *data)
{
	struct mock_buffer *buffer = data;
	loff_t pos = 0;

	return kernel_write(file, buffer->data, buffer->size, &pos);
}

/**
 * mock_group_read - read a sysfs file of a device's group as user space does
 * @mdev: a device of the group
 * @file: the file's name, such as "type"
 * @buf: where the text goes, NUL-terminated
 * @size: bytes in @buf
 *
 * Return: the number of bytes read or a negative error code.
 */
int mock_group_read(struct mock_device *mdev, const char *file, char *buf,
		    size_t size)
{
	struct mock_buffer buffer = { .data = buf, .size = size };

	return mock_group_access(mdev, file, O_RDONLY, mock_read, &buffer);
}

/**
 * mock_group_write - write a sysfs file of a device's group as root does
 * @mdev: a device of the group
 * @file: the file's name, such as "type"
 * @text: what is written
 *
 * Return: the number of bytes written or a negative error code.
 */
int mock_group_write(struct mock_device *mdev, const char *file,
		     const char *text)
{
	struct mock_buffer buffer = {
		.data = (char *)text,
		.size = strlen(text),
	};

	return mock_group_access(mdev, file, O_WRONLY, mock_write, &buffer);
}

static struct mock_uevents *listener;

static const char *env_value(const struct kobj_uevent_env *env,
			     const char *name)
{
	size_t len = strlen(name);

	for (int i = 0; i < env->envp_idx; i++)
		if (!strncmp(env->envp[i], name, len) &&
		    env->envp[i][len] == '=')
			return env->envp[i] + len + 1;
	return "";
}

/* Called for every uevent of a group, when its other variables are there */
static int mock_group_uevent(const struct kobject *group,
			     struct kobj_uevent_env *env)
{
	struct mock_uevent *event;

	if (kstrtoint(kobject_name(group), 10, &listener->last_group))
		listener->last_group = -1;
	if (listener->count++ >= ARRAY_SIZE(listener->events))
		return 0;
	event = &listener->events[listener->count - 1];
	strscpy(event->action, env_value(env, "ACTION"));
	strscpy(event->type, env_value(env, "IOMMU_GROUP_TYPE"));
	strscpy(event->source, env_value(env, "IOMMU_GROUP_TYPE_SOURCE"));
	return 0;
}

static const struct kset_uevent_ops mock_uevent_ops = {
	.uevent = mock_group_uevent,
};

static void mock_stop_listening(void *data)
{
	struct kset *groups = data;

	groups->uevent_ops = NULL;
	listener = NULL;
	kset_put(groups);
}

/**
 * mock_listen - hear the uevents of all groups until the test ends
 * @test: the test
 *
 * Context: process context. Nothing else may make or change groups meanwhile,
 * and on a machine whose groups are only mocked nothing does.
 *
 * Return: where the events are counted and noted from now on. Never NULL.
 */
struct mock_uevents *mock_listen(struct kunit *test)
{
	struct mock_uevents *events;
	struct kernfs_node *node;
	struct kset *groups;

	events = kunit_kzalloc(test, sizeof(*events), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, events);
	/* The set of the groups is known by its place in sysfs only */
	node = kernfs_find_and_get(kernel_kobj->sd, "iommu_groups");
	KUNIT_ASSERT_NOT_NULL(test, node);
	groups = kset_get(to_kset(node->priv));
	kernfs_put(node);
	KUNIT_ASSERT_NULL(test, groups->uevent_ops);
	listener = events;
	groups->uevent_ops = &mock_uevent_ops;
	KUNIT_ASSERT_EQ(test,
			kunit_add_action_or_reset(test, mock_stop_listening,
						  groups), 0);
	return events;
}
