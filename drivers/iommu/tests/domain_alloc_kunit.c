// SPDX-License-Identifier: GPL-2.0-only
/*
 * How domains are allocated: which operation of the IOMMU driver serves which
 * caller, what the core fills in, and what is left when something fails. And
 * that a device which is attached late is attached once. All of it on real
 * groups of the mock driver, which checks at the end of every test that no
 * domain is left.
 */
#include <kunit/test.h>
#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/iommu.h>
#include <linux/sizes.h>
#include <linux/workqueue.h>
#include <uapi/linux/iommufd.h>

#include "../dma-iommu.h"
#include "../iommu-priv.h"
#include "mock_iommu.h"

#define NEST_PARENT	IOMMU_HWPT_ALLOC_NEST_PARENT
#define DIRTY_TRACKING	IOMMU_HWPT_ALLOC_DIRTY_TRACKING
#define UNKNOWN		BIT(30)

/**
 * struct driver_calls - what the driver's operations were asked, and answer
 * @paging: calls of domain_alloc_paging
 * @user: calls of domain_alloc_user
 * @identity: calls of domain_alloc_identity
 * @dev: the device that the last call was for
 * @flags: the flags of the last call of domain_alloc_user
 * @for_nesting: that call had a parent or user data
 * @refuses: the operations answer with @refusal
 * @refusal: NULL or an ERR_PTR()
 * @identity_error: domain_alloc_identity answers with this error, if not 0
 * @cookies: so many domains from now on have a DMA cookie before the core
 *	gives them one, which it cannot then
 * @own: the driver sets the fields that the core sets otherwise
 * @direct: the device has a region that has to be mapped, which cannot be
 */
static struct driver_calls {
	unsigned int paging;
	unsigned int user;
	unsigned int identity;
	struct device *dev;
	u32 flags;
	bool for_nesting;
	bool refuses;
	struct iommu_domain *refusal;
	int identity_error;
	unsigned int cookies;
	bool own;
	bool direct;
} calls;

static int static_attach_dev(struct iommu_domain *domain, struct device *dev)
{
	return mock_domain_ops.attach_dev(domain, dev);
}

static void own_free(struct iommu_domain *domain)
{
	mock_domain_ops.free(domain);
}

static void own_flush_iotlb_all(struct iommu_domain *domain)
{
	mock_domain_ops.flush_iotlb_all(domain);
}

static const struct iommu_domain_ops own_domain_ops = {
	.attach_dev = static_attach_dev,
	.flush_iotlb_all = own_flush_iotlb_all,
	.free = own_free,
};

static int map_nothing(struct iommu_domain *domain, unsigned long iova,
		       phys_addr_t paddr, size_t pgsize, size_t pgcount,
		       int prot, gfp_t gfp, size_t *mapped)
{
	return -ENXIO;
}

static size_t unmap_nothing(struct iommu_domain *domain, unsigned long iova,
			    size_t pgsize, size_t pgcount,
			    struct iommu_iotlb_gather *gather)
{
	return 0;
}

static phys_addr_t nothing_mapped(struct iommu_domain *domain, dma_addr_t iova)
{
	return 0;
}

static const struct iommu_domain_ops full_domain_ops = {
	.attach_dev = static_attach_dev,
	.map_pages = map_nothing,
	.unmap_pages = unmap_nothing,
	.iova_to_phys = nothing_mapped,
	.flush_iotlb_all = own_flush_iotlb_all,
	.free = own_free,
};

static void direct_regions(struct device *dev, struct list_head *regions)
{
	struct iommu_resv_region *region;

	if (!calls.direct)
		return;
	region = iommu_alloc_resv_region(SZ_1M, SZ_4K, IOMMU_READ,
					 IOMMU_RESV_DIRECT, GFP_KERNEL);
	if (region)
		list_add_tail(&region->list, regions);
}

static const struct iommu_domain_ops static_domain_ops = {
	.attach_dev = static_attach_dev,
};

static struct iommu_domain static_identity = {
	.type = IOMMU_DOMAIN_IDENTITY,
	.ops = &static_domain_ops,
};

static struct iommu_domain static_blocked = {
	.type = IOMMU_DOMAIN_BLOCKED,
	.ops = &static_domain_ops,
};

static struct iommu_domain *answer(struct device *dev)
{
	struct iommu_domain *domain;

	calls.dev = dev;
	if (calls.refuses)
		return calls.refusal;
	domain = mock_domain_create(dev);
	if (IS_ERR(domain))
		return domain;
	if (calls.cookies) {
		calls.cookies--;
		iommu_get_dma_cookie(domain);
	}
	if (calls.own) {
		domain->ops = &own_domain_ops;
		domain->pgsize_bitmap = SZ_2M;
	}
	return domain;
}

static struct iommu_domain *alloc_paging(struct device *dev)
{
	calls.paging++;
	return answer(dev);
}

static struct iommu_domain *alloc_user(struct device *dev, u32 flags,
				       struct iommu_domain *parent,
				       const struct iommu_user_data *user_data)
{
	calls.user++;
	calls.flags = flags;
	calls.for_nesting = parent || user_data;
	if (flags & ~(NEST_PARENT | DIRTY_TRACKING))
		return ERR_PTR(-EOPNOTSUPP);
	return answer(dev);
}

static struct iommu_domain *alloc_identity(struct device *dev)
{
	calls.identity++;
	if (calls.identity_error)
		return ERR_PTR(calls.identity_error);
	return answer(dev);
}

static void record_calls(struct mock_iommu *mock, bool with_user)
{
	mock->ops.domain_alloc_paging = alloc_paging;
	mock->ops.domain_alloc_identity = alloc_identity;
	mock->ops.domain_alloc_user = with_user ? alloc_user : NULL;
}

static struct mock_iommu *create(struct kunit *test, bool with_user)
{
	struct mock_iommu *mock;

	if (iommu_default_passthrough())
		kunit_skip(test, "the system's default is identity");
	mock = mock_iommu_create(test);
	record_calls(mock, with_user);
	mock_iommu_register(test, mock);
	return mock;
}

static struct mock_device *add_device(struct kunit *test,
				      struct mock_iommu *mock,
				      unsigned int group)
{
	struct mock_device *mdev = mock_device_alloc_on(test, mock, group);

	mock_device_add(test, mdev);
	return mdev;
}

static void expect_calls(struct kunit *test, unsigned int paging,
			 unsigned int user, unsigned int identity)
{
	KUNIT_EXPECT_EQ(test, calls.paging, paging);
	KUNIT_EXPECT_EQ(test, calls.user, user);
	KUNIT_EXPECT_EQ(test, calls.identity, identity);
}

static struct iommu_domain *default_domain(struct mock_device *mdev)
{
	return iommu_group_default_domain(mdev->dev.iommu_group);
}

/* The device uses the group's default domain, and the core knows it */
static void expect_home(struct kunit *test, struct mock_device *mdev)
{
	KUNIT_EXPECT_PTR_EQ(test, mdev->attached, default_domain(mdev));
	KUNIT_EXPECT_PTR_EQ(test, iommu_get_domain_for_dev(&mdev->dev),
			    default_domain(mdev));
}

static void expect_away(struct kunit *test, struct mock_device *mdev,
			struct iommu_domain *domain)
{
	KUNIT_EXPECT_PTR_EQ(test, mdev->attached, domain);
	KUNIT_EXPECT_PTR_EQ(test, iommu_get_domain_for_dev(&mdev->dev), domain);
}

/* Who allocates: the drivers of the kernel, or those who serve user space */
enum caller { KERNEL, USER };

struct alloc_case {
	const char *name;
	enum caller caller;
	bool with_user_op;
	u32 flags;
	int error;
};

static const struct alloc_case alloc_cases[] = {
	{ "kernel driver, paging op only", KERNEL },
	{ "kernel driver, both ops", KERNEL, true },
	{ "user, paging op only", USER },
	{ "user, both ops", USER, true },
	{ "nesting parent, both ops", USER, true, NEST_PARENT },
	{ "dirty tracking, both ops", USER, true, DIRTY_TRACKING },
	{ "both flags, both ops", USER, true, NEST_PARENT | DIRTY_TRACKING },
	{ "unknown flag, both ops", USER, true, UNKNOWN, -EOPNOTSUPP },
	{ "known and unknown flag, both ops", USER, true,
	  DIRTY_TRACKING | UNKNOWN, -EOPNOTSUPP },
	{ "nesting parent, paging op only", USER, false, NEST_PARENT,
	  -EOPNOTSUPP },
	{ "dirty tracking, paging op only", USER, false, DIRTY_TRACKING,
	  -EOPNOTSUPP },
	{ "both flags, paging op only", USER, false,
	  NEST_PARENT | DIRTY_TRACKING, -EOPNOTSUPP },
	{ "unknown flag, paging op only", USER, false, UNKNOWN, -EOPNOTSUPP },
};

static void alloc_case_name(const struct alloc_case *param, char *desc)
{
	strscpy(desc, param->name, KUNIT_PARAM_DESC_SIZE);
}

KUNIT_ARRAY_PARAM(alloc, alloc_cases, alloc_case_name);

static struct iommu_domain *alloc_for(const struct alloc_case *param,
				      struct device *dev)
{
	return param->caller == USER ?
		       iommu_user_domain_alloc(dev, param->flags) :
		       iommu_paging_domain_alloc(dev);
}

static void test_alloc(struct kunit *test)
{
	const struct alloc_case *param = test->param_value;
	struct mock_iommu *mock = create(test, param->with_user_op);
	struct mock_device *mdev = add_device(test, mock, 0);
	struct iommu_domain *domain;

	/* Default domains are never user domains */
	expect_calls(test, 1, 0, 0);
	KUNIT_EXPECT_PTR_EQ(test, calls.dev, &mdev->dev);
	KUNIT_EXPECT_TRUE(test, iommu_is_dma_domain(default_domain(mdev)));
	KUNIT_EXPECT_NOT_NULL(test, default_domain(mdev)->iova_cookie);

	calls = (struct driver_calls) {};
	domain = alloc_for(param, &mdev->dev);
	if (param->with_user_op) {
		expect_calls(test, 0, 1, 0);
		KUNIT_EXPECT_EQ(test, calls.flags, param->flags);
		KUNIT_EXPECT_FALSE(test, calls.for_nesting);
	} else {
		/* No operation that knows no flags is asked for any */
		expect_calls(test, !param->error, 0, 0);
	}
	if (param->error) {
		KUNIT_EXPECT_EQ(test, PTR_ERR_OR_ZERO(domain), param->error);
		KUNIT_EXPECT_EQ(test, mock->live_domains, 1);
		return;
	}

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, domain);
	KUNIT_EXPECT_PTR_EQ(test, calls.dev, &mdev->dev);
	KUNIT_EXPECT_EQ(test, domain->type, IOMMU_DOMAIN_UNMANAGED);
	KUNIT_EXPECT_PTR_EQ(test, domain->owner, mock->driver);
	KUNIT_EXPECT_PTR_EQ(test, domain->ops, mock->ops.default_domain_ops);
	KUNIT_EXPECT_EQ(test, domain->pgsize_bitmap, mock->ops.pgsize_bitmap);
	KUNIT_EXPECT_NULL(test, domain->iova_cookie);

	/* It is there, and nobody uses it yet */
	KUNIT_EXPECT_EQ(test, mock->live_domains, 2);
	expect_home(test, mdev);
	KUNIT_EXPECT_EQ(test, iommu_attach_device(domain, &mdev->dev), 0);
	expect_away(test, mdev, domain);
	iommu_detach_device(domain, &mdev->dev);
	expect_home(test, mdev);
	iommu_domain_free(domain);
	KUNIT_EXPECT_EQ(test, mock->live_domains, 1);
}

/* With and without domain_alloc_user */
static const bool has_user_op[] = { false, true };

static void has_user_op_name(const bool *param, char *desc)
{
	strscpy(desc, *param ? "both ops" : "paging op only",
		KUNIT_PARAM_DESC_SIZE);
}

KUNIT_ARRAY_PARAM(user_op, has_user_op, has_user_op_name);

static struct mock_iommu *create_param(struct kunit *test)
{
	return create(test, *(const bool *)test->param_value);
}

/* A driver may know better what its domain can do, but not whose it is */
static void test_drivers_own_fields(struct kunit *test)
{
	struct mock_iommu *mock = create_param(test);
	struct mock_device *mdev = add_device(test, mock, 0);
	struct iommu_domain *domain;

	calls.own = true;
	domain = iommu_user_domain_alloc(&mdev->dev, 0);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, domain);
	KUNIT_EXPECT_PTR_EQ(test, domain->ops, &own_domain_ops);
	KUNIT_EXPECT_EQ(test, domain->pgsize_bitmap, SZ_2M);
	KUNIT_EXPECT_EQ(test, domain->type, IOMMU_DOMAIN_UNMANAGED);
	KUNIT_EXPECT_PTR_EQ(test, domain->owner, mock->driver);
	iommu_domain_free(domain);
}

/* The driver has no domain to give: its reason arrives, nothing stays behind */
static void test_driver_refuses(struct kunit *test)
{
	static const int errors[] = {
		-ENOMEM, -EINVAL, -EOPNOTSUPP, -ENODEV, -EPERM, -ENOSPC,
	};
	struct mock_iommu *mock = create_param(test);
	struct mock_device *mdev = add_device(test, mock, 0);
	struct iommu_domain *domain;

	calls.refuses = true;
	for (int i = 0; i < ARRAY_SIZE(errors); i++) {
		calls.refusal = ERR_PTR(errors[i]);
		domain = iommu_user_domain_alloc(&mdev->dev, 0);
		KUNIT_EXPECT_EQ(test, PTR_ERR_OR_ZERO(domain), errors[i]);
		domain = iommu_paging_domain_alloc(&mdev->dev);
		KUNIT_EXPECT_EQ(test, PTR_ERR_OR_ZERO(domain), errors[i]);
	}
	calls.refusal = NULL;
	domain = iommu_user_domain_alloc(&mdev->dev, 0);
	KUNIT_EXPECT_EQ(test, PTR_ERR_OR_ZERO(domain), -ENOMEM);
	domain = iommu_paging_domain_alloc(&mdev->dev);
	KUNIT_EXPECT_EQ(test, PTR_ERR_OR_ZERO(domain), -ENOMEM);

	KUNIT_EXPECT_EQ(test, mock->live_domains, 1);
	expect_home(test, mdev);
}

/* No IOMMU: nobody to ask, whatever is asked for */
static void test_no_iommu(struct kunit *test)
{
	struct mock_iommu *mock = mock_iommu_create(test);
	struct mock_device *mdev = add_device(test, mock, 0);
	struct iommu_domain *domain;

	record_calls(mock, true);
	domain = iommu_paging_domain_alloc(&mdev->dev);
	KUNIT_EXPECT_EQ(test, PTR_ERR_OR_ZERO(domain), -ENODEV);
	domain = iommu_user_domain_alloc(&mdev->dev, 0);
	KUNIT_EXPECT_EQ(test, PTR_ERR_OR_ZERO(domain), -ENODEV);
	domain = iommu_user_domain_alloc(&mdev->dev, DIRTY_TRACKING);
	KUNIT_EXPECT_EQ(test, PTR_ERR_OR_ZERO(domain), -ENODEV);
	expect_calls(test, 0, 0, 0);
}

/* A driver without any of the operations has no such domains */
static void test_no_op(struct kunit *test)
{
	struct mock_iommu *mock = mock_iommu_create(test);
	struct mock_device *mdev = mock_device_alloc(test, 0);
	struct iommu_domain *domain;

	mock->ops.domain_alloc_paging = NULL;
	mock->ops.domain_alloc_identity = NULL;
	mock->ops.default_domain = &static_identity;
	mock_iommu_register(test, mock);
	mock_device_add(test, mdev);
	KUNIT_EXPECT_PTR_EQ(test, mdev->attached, &static_identity);
	domain = iommu_paging_domain_alloc(&mdev->dev);
	KUNIT_EXPECT_EQ(test, PTR_ERR_OR_ZERO(domain), -EOPNOTSUPP);
	domain = iommu_user_domain_alloc(&mdev->dev, 0);
	KUNIT_EXPECT_EQ(test, PTR_ERR_OR_ZERO(domain), -EOPNOTSUPP);
}

/*
 * The domain is there, but its DMA cookie is not to be had: the domain goes
 * again, and the group is blocked until the next device joins it.
 */
static void test_cookie_fails(struct kunit *test)
{
	struct mock_iommu *mock = create(test, true);
	struct mock_device *mdev = mock_device_alloc(test, 0);
	struct mock_device *next = mock_device_alloc(test, 0);

	/* A lazy default is tried again as a strict one */
	calls.cookies = 2;
	mock_device_add(test, mdev);
	KUNIT_EXPECT_GE(test, calls.paging, 1);
	KUNIT_ASSERT_NOT_NULL(test, mdev->attached);
	KUNIT_EXPECT_EQ(test, mdev->attached->type, IOMMU_DOMAIN_UNMANAGED);
	KUNIT_EXPECT_EQ(test, iommu_device_use_default_domain(&mdev->dev),
			-EACCES);
	KUNIT_EXPECT_EQ(test, mock->live_domains, 1);

	calls.cookies = 0;
	mock_device_add(test, next);
	expect_home(test, mdev);
	expect_home(test, next);
	/* The one that blocked them is kept */
	KUNIT_EXPECT_EQ(test, mock->live_domains, 2);
}

/* The same when the group has a default domain, which it keeps */
static void test_cookie_fails_at_runtime(struct kunit *test)
{
	struct mock_iommu *mock = create(test, true);
	struct mock_device *mdev = add_device(test, mock, 0);
	struct iommu_domain *before;

	KUNIT_ASSERT_EQ(test, mock_group_write(mdev, "type", "identity"), 8);
	before = mdev->attached;
	calls.cookies = 1;
	KUNIT_EXPECT_EQ(test, mock_group_write(mdev, "type", "DMA"), -EEXIST);
	KUNIT_EXPECT_PTR_EQ(test, mdev->attached, before);
	expect_home(test, mdev);
	KUNIT_EXPECT_EQ(test, mock->live_domains, 1);
	KUNIT_EXPECT_EQ(test, mock_group_write(mdev, "type", "DMA"), 3);
}

/* One of three devices refuses the domain: all of them are where they were */
static void test_attach_fails(struct kunit *test)
{
	struct mock_iommu *mock = create(test, true);
	struct mock_device *mdev[3];
	struct iommu_domain *domain;
	struct iommu_group *group;
	unsigned int before;

	for (int i = 0; i < ARRAY_SIZE(mdev); i++)
		mdev[i] = add_device(test, mock, 0);
	group = mdev[0]->dev.iommu_group;
	domain = iommu_user_domain_alloc(&mdev[0]->dev, 0);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, domain);

	/* Only a group of one device can be attached by its device */
	KUNIT_EXPECT_EQ(test, iommu_attach_device(domain, &mdev[0]->dev),
			-EINVAL);
	for (int bad = 0; bad < ARRAY_SIZE(mdev); bad++) {
		mdev[bad]->refuses = domain;
		before = mdev[2]->attaches;
		KUNIT_EXPECT_EQ(test, iommu_attach_group(domain, group),
				-EINVAL);
		for (int i = 0; i < ARRAY_SIZE(mdev); i++)
			expect_home(test, mdev[i]);
		/* Those after the one that refuses are left alone */
		if (bad < 2)
			KUNIT_EXPECT_EQ(test, mdev[2]->attaches, before);
		mdev[bad]->refuses = NULL;
	}
	KUNIT_EXPECT_EQ(test, mock->live_domains, 2);

	KUNIT_EXPECT_EQ(test, iommu_attach_group(domain, group), 0);
	for (int i = 0; i < ARRAY_SIZE(mdev); i++)
		expect_away(test, mdev[i], domain);
	iommu_detach_group(domain, group);
	for (int i = 0; i < ARRAY_SIZE(mdev); i++)
		expect_home(test, mdev[i]);
	iommu_domain_free(domain);
	KUNIT_EXPECT_EQ(test, mock->live_domains, 1);
}

/* The same for a group that somebody owns: it stays blocked, not translated */
static void test_owned_attach_fails(struct kunit *test)
{
	struct mock_iommu *mock = create_param(test);
	struct mock_device *first = add_device(test, mock, 0);
	struct mock_device *second = add_device(test, mock, 0);
	struct iommu_group *group = first->dev.iommu_group;
	struct iommu_domain *domain, *blocking;

	KUNIT_ASSERT_EQ(test, iommu_group_claim_dma_owner(group, test), 0);
	blocking = first->attached;
	domain = iommu_user_domain_alloc(&first->dev, 0);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, domain);

	second->refuses = domain;
	KUNIT_EXPECT_EQ(test, iommu_attach_group(domain, group), -EINVAL);
	KUNIT_EXPECT_PTR_NE(test, blocking, default_domain(first));
	expect_away(test, first, blocking);
	expect_away(test, second, blocking);

	second->refuses = NULL;
	KUNIT_EXPECT_EQ(test, iommu_attach_group(domain, group), 0);
	expect_away(test, second, domain);
	iommu_detach_group(domain, group);
	expect_away(test, first, blocking);
	iommu_domain_free(domain);
	iommu_group_release_dma_owner(group);
	expect_home(test, first);
	expect_home(test, second);
}

/*
 * A driver without a blocked domain: an empty domain stands in, of the kind
 * that every owner of a device gets.
 */
static void test_blocking_is_empty_domain(struct kunit *test)
{
	struct mock_iommu *mock = create_param(test);
	struct mock_device *mdev = add_device(test, mock, 0);
	bool with_user = mock->ops.domain_alloc_user;

	/* When it is not to be had, the group is not given away */
	calls = (struct driver_calls) {
		.refuses = true, .refusal = ERR_PTR(-ENOMEM),
	};
	KUNIT_EXPECT_EQ(test, iommu_device_claim_dma_owner(&mdev->dev, test),
			-ENOMEM);
	expect_home(test, mdev);
	KUNIT_EXPECT_EQ(test, mock->live_domains, 1);

	calls = (struct driver_calls) {};
	KUNIT_ASSERT_EQ(test, iommu_device_claim_dma_owner(&mdev->dev, test),
			0);
	expect_calls(test, !with_user, with_user, 0);
	KUNIT_EXPECT_EQ(test, calls.flags, 0);
	KUNIT_EXPECT_EQ(test, mdev->attached->type, IOMMU_DOMAIN_UNMANAGED);
	KUNIT_EXPECT_PTR_EQ(test, mdev->attached->owner, mock->driver);
	KUNIT_EXPECT_PTR_NE(test, mdev->attached, default_domain(mdev));
	iommu_device_release_dma_owner(&mdev->dev);
	expect_home(test, mdev);

	/* It is kept for the next owner */
	KUNIT_ASSERT_EQ(test, iommu_device_claim_dma_owner(&mdev->dev, test),
			0);
	expect_calls(test, !with_user, with_user, 0);
	iommu_device_release_dma_owner(&mdev->dev);
	KUNIT_EXPECT_EQ(test, mock->live_domains, 2);
}

static void test_static_blocked_domain(struct kunit *test)
{
	struct mock_iommu *mock = create(test, true);
	struct mock_device *mdev;

	mock->ops.blocked_domain = &static_blocked;
	mdev = add_device(test, mock, 0);
	calls = (struct driver_calls) {};
	KUNIT_ASSERT_EQ(test, iommu_device_claim_dma_owner(&mdev->dev, test),
			0);
	expect_away(test, mdev, &static_blocked);
	iommu_device_release_dma_owner(&mdev->dev);
	expect_home(test, mdev);
	expect_calls(test, 0, 0, 0);
}

/* It may use neither the domain that is freed nor the one that it refuses */
static void test_blocked_when_it_cannot_go_back(struct kunit *test)
{
	struct mock_iommu *mock = mock_iommu_create(test);
	struct iommu_domain *before;
	struct mock_device *mdev;

	record_calls(mock, true);
	mock->ops.blocked_domain = &static_blocked;
	mock->ops.get_resv_regions = direct_regions;
	mock->ops.default_domain_ops = &full_domain_ops;
	mock_iommu_register(test, mock);
	mdev = add_device(test, mock, 0);
	KUNIT_ASSERT_EQ(test, mock_group_write(mdev, "type", "identity"), 8);
	before = mdev->attached;

	calls.direct = true;
	KUNIT_EXPECT_EQ(test, mock_group_write(mdev, "type", "DMA"), -ENXIO);
	expect_home(test, mdev);
	KUNIT_EXPECT_PTR_EQ(test, mdev->attached, before);

	mdev->refuses = before;
	KUNIT_EXPECT_EQ(test, mock_group_write(mdev, "type", "DMA"), -ENXIO);
	KUNIT_EXPECT_PTR_EQ(test, mdev->attached, &static_blocked);
	KUNIT_EXPECT_PTR_EQ(test, default_domain(mdev), before);
	KUNIT_EXPECT_EQ(test, mock->live_domains, 1);
}

/* The identity domain that depends on the instance is its own op's, only */
static void test_identity_op(struct kunit *test)
{
	struct mock_iommu *mock = create(test, true);
	struct mock_device *mdev = mock_device_alloc(test, 0);

	mdev->dev.iommu_passthrough = true;
	mock_device_add(test, mdev);
	expect_calls(test, 0, 0, 1);
	KUNIT_EXPECT_PTR_EQ(test, calls.dev, &mdev->dev);
	expect_home(test, mdev);
	KUNIT_EXPECT_EQ(test, mdev->attached->type, IOMMU_DOMAIN_IDENTITY);
	KUNIT_EXPECT_PTR_EQ(test, mdev->attached->owner, mock->driver);
	KUNIT_EXPECT_NULL(test, mdev->attached->iova_cookie);
}

static void test_static_identity_domain(struct kunit *test)
{
	struct mock_iommu *mock = create(test, true);
	struct mock_device *mdev = mock_device_alloc(test, 0);

	/* The op could not say more than the static domain does */
	mock->ops.identity_domain = &static_identity;
	mdev->dev.iommu_passthrough = true;
	mock_device_add(test, mdev);
	expect_calls(test, 0, 0, 0);
	expect_home(test, mdev);
	KUNIT_EXPECT_PTR_EQ(test, mdev->attached, &static_identity);
	KUNIT_EXPECT_EQ(test, mock->live_domains, 0);

	/* It is nobody's to free */
	KUNIT_EXPECT_EQ(test, mock_group_write(mdev, "type", "DMA"), 3);
	KUNIT_EXPECT_EQ(test, mock_group_write(mdev, "type", "identity"), 8);
	KUNIT_EXPECT_PTR_EQ(test, mdev->attached, &static_identity);
	KUNIT_EXPECT_EQ(test, mock->live_domains, 0);
}

/* The system's default is put back, strict, when a test ends */
static void default_translated(void *unused)
{
	iommu_set_default_translated(false);
}

/*
 * The whole system is to bypass the IOMMU, and this instance cannot: its
 * devices are translated, strictly, and asking for identity later is an error.
 */
static void test_identity_refused(struct kunit *test)
{
	static const int errors[] = { -ENODEV, -ENOMEM, -EOPNOTSUPP };
	struct mock_iommu *mock = create(test, true);
	struct mock_device *mdev;

	iommu_set_default_passthrough(false);
	KUNIT_ASSERT_EQ(test,
			kunit_add_action_or_reset(test, default_translated,
						  NULL), 0);
	for (int i = 0; i < ARRAY_SIZE(errors); i++) {
		/* The last one has no such operation */
		if (errors[i] == -EOPNOTSUPP)
			mock->ops.domain_alloc_identity = NULL;
		calls = (struct driver_calls) { .identity_error = errors[i] };
		mdev = add_device(test, mock, i);
		expect_calls(test, 1, 0, errors[i] != -EOPNOTSUPP);
		expect_home(test, mdev);
		KUNIT_EXPECT_EQ(test, mdev->attached->type, IOMMU_DOMAIN_DMA);

		KUNIT_EXPECT_EQ(test, mock_group_write(mdev, "type", "identity"),
				errors[i]);
		expect_home(test, mdev);
		KUNIT_EXPECT_EQ(test, mdev->attached->type, IOMMU_DOMAIN_DMA);
		KUNIT_EXPECT_EQ(test, mock->live_domains, i + 1);
	}
}

/* Neither is translation to be had, nor a domain that blocks: no driver binds */
static void test_nothing_to_be_had(struct kunit *test)
{
	struct mock_iommu *mock = create(test, true);
	struct mock_device *mdev = mock_device_alloc(test, 0);

	mdev->dev.iommu_passthrough = true;
	calls.identity_error = -ENODEV;
	calls.refuses = true;
	calls.refusal = ERR_PTR(-ENOSPC);
	mock_device_add(test, mdev);
	KUNIT_EXPECT_EQ(test, calls.identity, 1);
	KUNIT_EXPECT_GE(test, calls.paging, 1);
	/* The driver has no other way to block than an empty domain */
	KUNIT_EXPECT_EQ(test, calls.user, 1);
	KUNIT_EXPECT_NULL(test, mdev->attached);
	KUNIT_EXPECT_EQ(test, iommu_device_use_default_domain(&mdev->dev),
			-EACCES);
	KUNIT_EXPECT_EQ(test, mock->live_domains, 0);
}

struct two_buses {
	struct mock_iommu *iommu[2];
	struct mock_device *mdev[2];
};

static void create_two_buses(struct kunit *test, bool same_driver,
			     struct two_buses *two)
{
	two->iommu[0] = create(test, true);
	two->iommu[1] = mock_iommu_create_second(test, same_driver ?
						 two->iommu[0] : NULL);
	record_calls(two->iommu[1], true);
	mock_iommu_register(test, two->iommu[1]);
	for (int i = 0; i < 2; i++) {
		two->mdev[i] = add_device(test, two->iommu[i], 0);
		KUNIT_ASSERT_NOT_NULL(test, two->mdev[i]->dev.iommu_group);
		KUNIT_ASSERT_PTR_EQ(test, two->mdev[i]->dev.iommu->iommu_dev,
				    &two->iommu[i]->iommu);
		expect_home(test, two->mdev[i]);
	}
}

static void attach(struct kunit *test, struct iommu_domain *domain,
		   struct mock_device *mdev)
{
	KUNIT_EXPECT_EQ(test, iommu_attach_device(domain, &mdev->dev), 0);
}

/* One driver, two buses: its domain serves both, and leaves in any order */
static void test_two_buses_one_driver(struct kunit *test)
{
	struct iommu_domain *domain;
	struct two_buses two;

	create_two_buses(test, true, &two);
	for (int owner = 0; owner < 2; owner++) {
		domain = iommu_user_domain_alloc(&two.mdev[owner]->dev, 0);
		KUNIT_ASSERT_NOT_ERR_OR_NULL(test, domain);
		KUNIT_EXPECT_PTR_EQ(test, calls.dev, &two.mdev[owner]->dev);
		for (int first = 0; first < 2; first++) {
			struct mock_device *leaves = two.mdev[first];
			struct mock_device *stays = two.mdev[!first];

			attach(test, domain, leaves);
			attach(test, domain, stays);
			expect_away(test, leaves, domain);
			expect_away(test, stays, domain);
			iommu_detach_device(domain, &leaves->dev);
			expect_home(test, leaves);
			expect_away(test, stays, domain);
			iommu_detach_device(domain, &stays->dev);
			expect_home(test, stays);
		}
		iommu_domain_free(domain);
	}
	KUNIT_EXPECT_EQ(test, two.iommu[0]->live_domains, 1);
	KUNIT_EXPECT_EQ(test, two.iommu[1]->live_domains, 1);
}

/* The second bus has an instance that the domain does not suit */
static void test_two_buses_incompatible(struct kunit *test)
{
	struct iommu_domain *domain;
	struct two_buses two;

	create_two_buses(test, true, &two);
	domain = iommu_user_domain_alloc(&two.mdev[0]->dev, 0);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, domain);
	two.mdev[1]->refuses = domain;
	KUNIT_EXPECT_EQ(test, iommu_attach_device(domain, &two.mdev[0]->dev),
			0);
	KUNIT_EXPECT_EQ(test, iommu_attach_device(domain, &two.mdev[1]->dev),
			-EINVAL);
	expect_away(test, two.mdev[0], domain);
	expect_home(test, two.mdev[1]);
	iommu_detach_device(domain, &two.mdev[0]->dev);
	iommu_domain_free(domain);
}

/* A domain of one driver is nothing that another driver may look into */
static void test_two_drivers(struct kunit *test)
{
	struct iommu_domain *domain;
	struct two_buses two;

	create_two_buses(test, false, &two);
	for (int owner = 0; owner < 2; owner++) {
		struct mock_device *mine = two.mdev[owner];
		struct mock_device *other = two.mdev[!owner];
		unsigned int before = other->attaches;

		domain = iommu_user_domain_alloc(&mine->dev, 0);
		KUNIT_ASSERT_NOT_ERR_OR_NULL(test, domain);
		KUNIT_EXPECT_PTR_EQ(test, domain->owner,
				    &two.iommu[owner]->ops);
		KUNIT_EXPECT_EQ(test, iommu_attach_device(domain, &other->dev),
				-EINVAL);
		KUNIT_EXPECT_EQ(test,
				iommu_attach_group(domain,
						   other->dev.iommu_group),
				-EINVAL);
		KUNIT_EXPECT_EQ(test,
				iommu_group_replace_domain(other->dev.iommu_group,
							   domain),
				-EINVAL);
		KUNIT_EXPECT_EQ(test,
				iommu_replace_group_handle(other->dev.iommu_group,
							   domain, NULL),
				-EINVAL);
		/* Its driver was not even asked */
		KUNIT_EXPECT_EQ(test, other->attaches, before);
		expect_home(test, other);
		KUNIT_EXPECT_EQ(test, iommu_attach_device(domain, &mine->dev),
				0);
		iommu_detach_device(domain, &mine->dev);
		iommu_domain_free(domain);
	}
}

/* An attach that takes as long as a test wants, see test_deferred_twice() */
static struct {
	struct completion entered;
	struct completion go;
	atomic_t mappings;
} slow_attach;

static int slow_attach_dev(struct iommu_domain *domain, struct device *dev)
{
	iommu_group_mutex_assert(dev);
	complete(&slow_attach.entered);
	wait_for_completion(&slow_attach.go);
	return mock_domain_ops.attach_dev(domain, dev);
}

static const struct iommu_domain_ops slow_domain_ops = {
	.attach_dev = slow_attach_dev,
	.flush_iotlb_all = own_flush_iotlb_all,
	.free = own_free,
};

static bool always_deferred(struct device *dev)
{
	return true;
}

/* A device as in a kdump kernel: it is attached when something is mapped */
static struct mock_device *add_deferred(struct kunit *test,
					const struct iommu_domain_ops *ops)
{
	struct mock_iommu *mock = mock_iommu_create(test);
	struct mock_device *mdev;

	record_calls(mock, false);
	mock->ops.is_attach_deferred = always_deferred;
	mock->ops.default_domain_ops = ops;
	mock_iommu_register(test, mock);
	mdev = add_device(test, mock, 0);
	KUNIT_ASSERT_NOT_NULL(test, mdev->dev.iommu_group);
	KUNIT_EXPECT_NULL(test, mdev->attached);
	KUNIT_EXPECT_EQ(test, mdev->attaches, 0);
	return mdev;
}

static int map_something(struct mock_device *mdev)
{
	return iommu_deferred_attach(&mdev->dev, default_domain(mdev));
}

static void test_deferred(struct kunit *test)
{
	struct mock_device *mdev = add_deferred(test, &mock_domain_ops);

	/* It goes on waiting */
	mdev->fail_attaches = 1;
	KUNIT_EXPECT_EQ(test, map_something(mdev), -EINVAL);
	KUNIT_EXPECT_EQ(test, mdev->attaches, 1);
	KUNIT_EXPECT_EQ(test, map_something(mdev), 0);
	KUNIT_EXPECT_EQ(test, mdev->attaches, 2);
	expect_home(test, mdev);
	/* And then not any more */
	KUNIT_EXPECT_EQ(test, map_something(mdev), 0);
	KUNIT_EXPECT_EQ(test, mdev->attaches, 2);
}

struct first_mapping {
	struct work_struct work;
	struct mock_device *mdev;
	int ret;
};

static void map_first(struct work_struct *work)
{
	struct first_mapping *first = container_of(work, struct first_mapping,
						   work);

	atomic_inc(&slow_attach.mappings);
	first->ret = map_something(first->mdev);
}

/* Two mappings find that the device waits, and one attaches it */
static void test_deferred_twice(struct kunit *test)
{
	struct first_mapping first[2] = {};
	struct mock_device *mdev;

	init_completion(&slow_attach.entered);
	init_completion(&slow_attach.go);
	atomic_set(&slow_attach.mappings, 0);
	mdev = add_deferred(test, &slow_domain_ops);
	for (int i = 0; i < ARRAY_SIZE(first); i++) {
		first[i].mdev = mdev;
		INIT_WORK_ONSTACK(&first[i].work, map_first);
		queue_work(system_unbound_wq, &first[i].work);
	}
	KUNIT_EXPECT_NE(test,
			wait_for_completion_timeout(&slow_attach.entered,
						    60 * HZ), 0);
	/* The other one has begun, and has time to come so far, too */
	while (atomic_read(&slow_attach.mappings) < ARRAY_SIZE(first))
		usleep_range(1000, 2000);
	KUNIT_EXPECT_EQ(test,
			wait_for_completion_timeout(&slow_attach.entered,
						    HZ / 5), 0);
	complete_all(&slow_attach.go);
	for (int i = 0; i < ARRAY_SIZE(first); i++) {
		flush_work(&first[i].work);
		destroy_work_on_stack(&first[i].work);
		KUNIT_EXPECT_EQ(test, first[i].ret, 0);
	}
	KUNIT_EXPECT_EQ(test, mdev->attaches, 1);
	expect_home(test, mdev);
}

static int domain_alloc_init(struct kunit *test)
{
	calls = (struct driver_calls) {};
	return 0;
}

static struct kunit_case domain_alloc_cases[] = {
	KUNIT_CASE_PARAM(test_alloc, alloc_gen_params),
	KUNIT_CASE_PARAM(test_drivers_own_fields, user_op_gen_params),
	KUNIT_CASE_PARAM(test_driver_refuses, user_op_gen_params),
	KUNIT_CASE(test_no_iommu),
	KUNIT_CASE(test_no_op),
	KUNIT_CASE(test_cookie_fails),
	KUNIT_CASE(test_cookie_fails_at_runtime),
	KUNIT_CASE(test_attach_fails),
	KUNIT_CASE_PARAM(test_owned_attach_fails, user_op_gen_params),
	KUNIT_CASE_PARAM(test_blocking_is_empty_domain, user_op_gen_params),
	KUNIT_CASE(test_static_blocked_domain),
	KUNIT_CASE(test_blocked_when_it_cannot_go_back),
	KUNIT_CASE(test_identity_op),
	KUNIT_CASE(test_static_identity_domain),
	KUNIT_CASE(test_identity_refused),
	KUNIT_CASE(test_nothing_to_be_had),
	KUNIT_CASE(test_two_buses_one_driver),
	KUNIT_CASE(test_two_buses_incompatible),
	KUNIT_CASE(test_two_drivers),
	KUNIT_CASE(test_deferred),
	KUNIT_CASE(test_deferred_twice),
	{}
};

static struct kunit_suite domain_alloc_suite = {
	.name = "iommu_alloc_domain",
	.init = domain_alloc_init,
	.test_cases = domain_alloc_cases,
};

kunit_test_suite(domain_alloc_suite);
