// SPDX-License-Identifier: GPL-2.0-only
/*
 * Several domains on one device, on real groups of the mock driver. What a
 * device's PASIDs lead to is read from the mock device, which also fails the
 * test when a PASID is set twice, when one is removed that is not set, and when
 * a device goes or a domain is freed that still has one.
 */
#include <kunit/test.h>
#include <linux/completion.h>
#include <linux/iommu.h>
#include <linux/kthread.h>

#include "mock_iommu.h"

/* What an IOMMU can do; each device has its own limit besides */
#define IOMMU_PASIDS	BIT(20)
#define MANY_DOMAINS	300

/* Lazy or strict, that is not this suite's business */
static bool is_default_domain(struct mock_device *mdev)
{
	struct iommu_group *group = mdev->dev.iommu_group;

	return mdev->attached == iommu_group_default_domain(group) &&
	       mdev->attached->type & __IOMMU_DOMAIN_DMA_API;
}

static struct mock_iommu *create(struct kunit *test)
{
	struct mock_iommu *mock = mock_iommu_create(test);

	mock->iommu.max_pasids = IOMMU_PASIDS;
	mock_iommu_register(test, mock);
	return mock;
}

static struct mock_device *add_on(struct kunit *test, struct mock_iommu *mock,
				  unsigned int group, unsigned int bits)
{
	struct mock_device *mdev = mock_device_alloc_on(test, mock, group);

	mock_device_set_pasids(test, mdev, bits);
	mock_device_add(test, mdev);
	KUNIT_ASSERT_NOT_NULL(test, mdev->dev.iommu_group);
	return mdev;
}

/* A device whose PASIDs have so many bits */
static struct mock_device *add(struct kunit *test, unsigned int group,
			       unsigned int bits)
{
	struct mock_device *mdev = mock_device_alloc(test, group);

	mock_device_set_pasids(test, mdev, bits);
	mock_device_add(test, mdev);
	KUNIT_ASSERT_NOT_NULL(test, mdev->dev.iommu_group);
	return mdev;
}

/* What the driver core does when it binds a driver that uses the DMA API */
static void bind(struct kunit *test, struct mock_device *mdev)
{
	KUNIT_ASSERT_EQ(test, iommu_device_use_default_domain(&mdev->dev), 0);
}

static void unbind(struct mock_device *mdev)
{
	iommu_device_unuse_default_domain(&mdev->dev);
}

static void bind_enable(struct kunit *test, struct mock_device *mdev)
{
	bind(test, mdev);
	KUNIT_ASSERT_EQ(test, iommu_enable_aux_domain(&mdev->dev), 0);
}

/* A good driver's end */
static void disable_unbind(struct mock_device *mdev)
{
	iommu_disable_aux_domain(&mdev->dev);
	unbind(mdev);
}

static struct mock_device *add_enabled(struct kunit *test, unsigned int group,
				       unsigned int bits)
{
	struct mock_device *mdev = add(test, group, bits);

	bind_enable(test, mdev);
	return mdev;
}

static struct iommu_domain *alloc(struct kunit *test, struct mock_device *mdev)
{
	struct iommu_domain *domain = iommu_paging_domain_alloc(&mdev->dev);

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, domain);
	return domain;
}

static int attach(struct iommu_domain *domain, struct mock_device *mdev)
{
	return iommu_aux_attach_device(domain, &mdev->dev);
}

static void detach(struct iommu_domain *domain, struct mock_device *mdev)
{
	iommu_aux_detach_device(domain, &mdev->dev);
}

static struct iommu_domain *alloc_attach(struct kunit *test,
					 struct mock_device *mdev)
{
	struct iommu_domain *domain = alloc(test, mdev);

	KUNIT_ASSERT_EQ(test, attach(domain, mdev), 0);
	return domain;
}

/* Its number leads to the domain, on this device */
static void expect_reached(struct kunit *test, struct iommu_domain *domain,
			   struct mock_device *mdev)
{
	int id = iommu_auxiliary_id(domain);

	KUNIT_ASSERT_GT(test, id, 0);
	KUNIT_EXPECT_PTR_EQ(test, xa_load(&mdev->pasids, id), (void *)domain);
}

static void expect_pasids(struct kunit *test, struct mock_device *mdev,
			  unsigned int expected)
{
	unsigned int found = 0;
	unsigned long pasid;
	void *domain;

	xa_for_each(&mdev->pasids, pasid, domain)
		found++;
	KUNIT_EXPECT_EQ(test, found, expected);
}

static void expect_unattached(struct kunit *test, struct iommu_domain *domain)
{
	KUNIT_EXPECT_EQ(test, iommu_auxiliary_id(domain), -ENOENT);
}

/* The numbers are given back: the next domain gets the first one */
static void expect_no_id_used(struct kunit *test, struct mock_device *mdev)
{
	struct iommu_domain *domain = alloc_attach(test, mdev);

	KUNIT_EXPECT_EQ(test, iommu_auxiliary_id(domain), 1);
	detach(domain, mdev);
	iommu_domain_free(domain);
}

/* Nothing is left of drivers that are gone: the group can be used as before */
static void expect_usable(struct kunit *test, struct mock_device *mdev)
{
	struct device *dev = &mdev->dev;

	expect_pasids(test, mdev, 0);
	KUNIT_EXPECT_EQ(test, iommu_device_claim_dma_owner(dev, test), 0);
	iommu_device_release_dma_owner(dev);
	KUNIT_EXPECT_TRUE(test, is_default_domain(mdev));
	KUNIT_EXPECT_EQ(test, mock_group_write(mdev, "type", "identity"), 8);
	KUNIT_EXPECT_EQ(test, mock_group_write(mdev, "type", "DMA"), 3);
	bind_enable(test, mdev);
	disable_unbind(mdev);
}

static bool says_yes(struct device *dev, enum iommu_cap cap)
{
	return true;
}

/* What a device or an IOMMU lacks that cannot have auxiliary domains */
struct lack {
	const char *name;
	u32 iommu_pasids;
	int bits;
	bool no_set;
	bool no_remove;
	bool capable;
};

static const struct lack lacks[] = {
	{ .name = "device without PASIDs", .iommu_pasids = IOMMU_PASIDS,
	  .bits = -1 },
	{ .name = "0 bits", .iommu_pasids = IOMMU_PASIDS, .bits = 0 },
	{ .name = "1 bit", .iommu_pasids = IOMMU_PASIDS, .bits = 1,
	  .capable = true },
	{ .name = "8 bits", .iommu_pasids = IOMMU_PASIDS, .bits = 8,
	  .capable = true },
	{ .name = "20 bits", .iommu_pasids = IOMMU_PASIDS, .bits = 20,
	  .capable = true },
	{ .name = "IOMMU without PASIDs", .iommu_pasids = 0, .bits = 8 },
	{ .name = "IOMMU with PASID 0", .iommu_pasids = 1, .bits = 8 },
	{ .name = "IOMMU with one more", .iommu_pasids = 2, .bits = 8,
	  .capable = true },
	{ .name = "PASIDs only for SVA", .iommu_pasids = IOMMU_PASIDS,
	  .bits = 8, .no_set = true },
	{ .name = "nothing leaves a PASID", .iommu_pasids = IOMMU_PASIDS,
	  .bits = 8, .no_remove = true },
};

KUNIT_ARRAY_PARAM_DESC(lack, lacks, name);

static void test_capability(struct kunit *test)
{
	const struct lack *lack = test->param_value;
	struct iommu_domain_ops *ops;
	struct mock_device *mdev;
	struct mock_iommu *mock;

	/* Domains use them, so they must be there until those are gone */
	ops = kunit_kzalloc(test, sizeof(*ops), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, ops);
	*ops = mock_domain_ops;
	if (lack->no_set)
		ops->set_dev_pasid = NULL;
	mock = mock_iommu_create(test);
	mock->ops.default_domain_ops = ops;
	mdev = mock_device_alloc(test, 0);

	/* The core does not ask the driver, which knows nothing of it */
	mock->ops.capable = says_yes;
	mock->iommu.max_pasids = lack->iommu_pasids;
	if (lack->no_remove)
		mock->ops.remove_dev_pasid = NULL;
	mock_iommu_register(test, mock);
	if (lack->bits >= 0)
		mock_device_set_pasids(test, mdev, lack->bits);
	mock_device_add(test, mdev);
	bind(test, mdev);

	KUNIT_EXPECT_EQ(test,
			device_iommu_capable(&mdev->dev, IOMMU_CAP_AUX_DOMAIN),
			lack->capable);
	KUNIT_EXPECT_EQ(test, iommu_enable_aux_domain(&mdev->dev),
			lack->capable ? 0 : -EOPNOTSUPP);
	disable_unbind(mdev);
}

static void test_no_iommu(struct kunit *test)
{
	struct mock_device *mdev = mock_device_alloc_on(test,
							mock_iommu_create(test),
							0);
	struct iommu_domain domain = { .type = IOMMU_DOMAIN_UNMANAGED };

	mock_device_add(test, mdev);
	KUNIT_EXPECT_FALSE(test, device_iommu_capable(&mdev->dev,
						      IOMMU_CAP_AUX_DOMAIN));
	KUNIT_EXPECT_EQ(test, iommu_enable_aux_domain(&mdev->dev), -ENODEV);
	KUNIT_EXPECT_EQ(test, attach(&domain, mdev), -ENODEV);
	detach(&domain, mdev);
	iommu_disable_aux_domain(&mdev->dev);
}

struct limit {
	const char *name;
	unsigned int bits;
	unsigned int domains;
	bool full;
};

static const struct limit limits[] = {
	{ .name = "1 bit", .bits = 1, .domains = 1, .full = true },
	{ .name = "8 bits", .bits = 8, .domains = 255, .full = true },
	{ .name = "20 bits", .bits = 20, .domains = MANY_DOMAINS },
};

KUNIT_ARRAY_PARAM_DESC(limit, limits, name);

/* As many domains as there are numbers, each with its own */
static void test_many_domains(struct kunit *test)
{
	const struct limit *limit = test->param_value;
	struct mock_iommu *mock = create(test);
	struct mock_device *mdev = add_enabled(test, 0, limit->bits);
	struct iommu_domain *one_more = alloc(test, mdev);
	struct iommu_domain **domains;
	struct iommu_domain *before = mdev->attached;
	unsigned int attaches = mdev->attaches;

	domains = kunit_kcalloc(test, limit->domains, sizeof(*domains),
				GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, domains);
	for (int i = 0; i < limit->domains; i++) {
		domains[i] = alloc_attach(test, mdev);
		KUNIT_EXPECT_EQ(test, iommu_auxiliary_id(domains[i]), i + 1);
	}
	for (int i = 0; i < limit->domains; i++)
		expect_reached(test, domains[i], mdev);
	expect_pasids(test, mdev, limit->domains);

	/* One too many, and then there is room for it */
	KUNIT_EXPECT_EQ(test, attach(one_more, mdev),
			limit->full ? -ENOSPC : 0);
	if (limit->full) {
		expect_unattached(test, one_more);
		expect_pasids(test, mdev, limit->domains);
		detach(domains[0], mdev);
		expect_unattached(test, domains[0]);
		KUNIT_EXPECT_EQ(test, attach(one_more, mdev), 0);
		KUNIT_EXPECT_EQ(test, iommu_auxiliary_id(one_more), 1);
		detach(one_more, mdev);
		KUNIT_EXPECT_EQ(test, attach(domains[0], mdev), 0);
	} else {
		detach(one_more, mdev);
	}
	iommu_domain_free(one_more);

	for (int i = 0; i < limit->domains; i++) {
		detach(domains[i], mdev);
		iommu_domain_free(domains[i]);
	}
	expect_pasids(test, mdev, 0);
	expect_no_id_used(test, mdev);
	KUNIT_EXPECT_EQ(test, mock->live_domains, 1);

	/* Requests without a number went their way all the time */
	KUNIT_EXPECT_PTR_EQ(test, mdev->attached, before);
	KUNIT_EXPECT_EQ(test, mdev->attaches, attaches);
	KUNIT_EXPECT_TRUE(test, is_default_domain(mdev));
	disable_unbind(mdev);
}

/* One domain on devices of two groups; it leaves them in any order */
static void test_shared_by_groups(struct kunit *test)
{
	struct mock_device *mdev[2];
	struct iommu_domain *domain;

	create(test);
	for (int i = 0; i < 2; i++)
		mdev[i] = add_enabled(test, i, 8);
	for (int first = 0; first < 2; first++) {
		int id;

		domain = alloc(test, mdev[0]);
		expect_unattached(test, domain);
		KUNIT_EXPECT_EQ(test, attach(domain, mdev[first]), 0);
		id = iommu_auxiliary_id(domain);
		expect_pasids(test, mdev[!first], 0);
		KUNIT_EXPECT_EQ(test, attach(domain, mdev[!first]), 0);
		KUNIT_EXPECT_EQ(test, iommu_auxiliary_id(domain), id);
		expect_reached(test, domain, mdev[0]);
		expect_reached(test, domain, mdev[1]);

		detach(domain, mdev[0]);
		expect_pasids(test, mdev[0], 0);
		expect_reached(test, domain, mdev[1]);
		KUNIT_EXPECT_EQ(test, iommu_auxiliary_id(domain), id);
		detach(domain, mdev[1]);
		expect_unattached(test, domain);
		iommu_domain_free(domain);
	}
	expect_no_id_used(test, mdev[0]);
	disable_unbind(mdev[0]);
	disable_unbind(mdev[1]);
}

/* A device that has not enough numbers for the one that the domain has */
static void test_limit_below_id(struct kunit *test)
{
	struct iommu_domain *first, *second;
	struct mock_device *big, *small;

	create(test);
	big = add_enabled(test, 0, 20);
	small = add_enabled(test, 1, 1);
	first = alloc_attach(test, big);
	second = alloc_attach(test, big);
	KUNIT_EXPECT_EQ(test, iommu_auxiliary_id(second), 2);

	KUNIT_EXPECT_EQ(test, attach(second, small), -EOVERFLOW);
	KUNIT_EXPECT_EQ(test, iommu_auxiliary_id(second), 2);
	expect_reached(test, second, big);
	expect_pasids(test, small, 0);
	/* The first one can go there */
	KUNIT_EXPECT_EQ(test, attach(first, small), 0);
	expect_reached(test, first, small);

	detach(first, small);
	detach(first, big);
	detach(second, big);
	/* Without its number it can, too */
	KUNIT_EXPECT_EQ(test, attach(second, small), 0);
	KUNIT_EXPECT_EQ(test, attach(second, big), 0);
	detach(second, small);
	detach(second, big);
	iommu_domain_free(first);
	iommu_domain_free(second);
	disable_unbind(big);
	disable_unbind(small);
}

/* Both devices of a group reach it, and it leaves with the last that uses it */
static void test_shared_in_group(struct kunit *test)
{
	struct mock_device *mdev[3];
	struct iommu_domain *domain;

	create(test);
	mdev[0] = add(test, 0, 8);
	mdev[1] = add(test, 0, 8);
	/* The third one has no numbers, and does not matter */
	mdev[2] = mock_device_alloc(test, 0);
	mock_device_add(test, mdev[2]);
	bind_enable(test, mdev[0]);
	bind_enable(test, mdev[1]);

	for (int first = 0; first < 2; first++) {
		domain = alloc_attach(test, mdev[first]);
		expect_reached(test, domain, mdev[0]);
		expect_reached(test, domain, mdev[1]);
		expect_pasids(test, mdev[2], 0);

		KUNIT_EXPECT_EQ(test, attach(domain, mdev[!first]), 0);
		expect_pasids(test, mdev[0], 1);
		detach(domain, mdev[0]);
		expect_reached(test, domain, mdev[0]);
		expect_reached(test, domain, mdev[1]);
		detach(domain, mdev[1]);
		expect_pasids(test, mdev[0], 0);
		expect_pasids(test, mdev[1], 0);
		expect_unattached(test, domain);
		iommu_domain_free(domain);
	}
	disable_unbind(mdev[0]);
	disable_unbind(mdev[1]);
}

/* The number suits all devices of the group, whoever attaches first */
static void test_limit_of_group(struct kunit *test)
{
	struct iommu_domain *first, *second;
	struct mock_device *big, *small, *other;

	create(test);
	big = add(test, 0, 20);
	small = add(test, 0, 1);
	other = add_enabled(test, 1, 20);
	bind_enable(test, big);
	first = alloc_attach(test, other);
	second = alloc_attach(test, other);

	/* Its only number is taken by another group */
	detach(second, other);
	KUNIT_EXPECT_EQ(test, attach(second, big), -ENOSPC);
	expect_unattached(test, second);
	/* The domain has one that is too high for a device of the group */
	KUNIT_EXPECT_EQ(test, attach(second, other), 0);
	KUNIT_EXPECT_EQ(test, attach(second, big), -EOVERFLOW);
	expect_pasids(test, big, 0);
	expect_pasids(test, small, 0);
	KUNIT_EXPECT_EQ(test, attach(first, big), 0);
	expect_reached(test, first, small);

	detach(first, big);
	detach(first, other);
	detach(second, other);
	iommu_domain_free(first);
	iommu_domain_free(second);
	disable_unbind(big);
	disable_unbind(other);
}

/* A device of the group refuses: the others have nothing of it either */
static void test_attach_fails(struct kunit *test)
{
	struct iommu_domain *fresh, *used;
	struct mock_device *mdev[3], *other;

	create(test);
	for (int i = 0; i < ARRAY_SIZE(mdev); i++)
		mdev[i] = add(test, 0, 8);
	for (int i = 0; i < ARRAY_SIZE(mdev); i++)
		bind_enable(test, mdev[i]);
	other = add_enabled(test, 1, 8);
	used = alloc_attach(test, other);
	fresh = alloc(test, mdev[0]);

	for (int bad = 0; bad < ARRAY_SIZE(mdev); bad++) {
		mdev[bad]->pasid_error = -EIO;
		KUNIT_EXPECT_EQ(test, attach(fresh, mdev[0]), -EIO);
		expect_unattached(test, fresh);
		KUNIT_EXPECT_EQ(test, attach(used, mdev[0]), -EIO);
		KUNIT_EXPECT_EQ(test, iommu_auxiliary_id(used), 1);
		expect_reached(test, used, other);
		for (int i = 0; i < ARRAY_SIZE(mdev); i++)
			expect_pasids(test, mdev[i], 0);
		mdev[bad]->pasid_error = 0;
	}
	/* Nor has a number been lost */
	KUNIT_EXPECT_EQ(test, attach(fresh, mdev[1]), 0);
	KUNIT_EXPECT_EQ(test, iommu_auxiliary_id(fresh), 2);
	KUNIT_EXPECT_EQ(test, attach(used, mdev[2]), 0);
	for (int i = 0; i < ARRAY_SIZE(mdev); i++)
		expect_pasids(test, mdev[i], 2);

	detach(fresh, mdev[1]);
	detach(used, mdev[2]);
	detach(used, other);
	iommu_domain_free(fresh);
	iommu_domain_free(used);
	for (int i = 0; i < ARRAY_SIZE(mdev); i++)
		disable_unbind(mdev[i]);
	disable_unbind(other);
}

/* What was attached before a device joined is not for it */
static void test_join(struct kunit *test)
{
	struct iommu_domain *before, *after;
	struct mock_device *first, *joiner;

	create(test);
	first = add_enabled(test, 0, 8);
	before = alloc_attach(test, first);
	joiner = add(test, 0, 8);
	KUNIT_EXPECT_TRUE(test, is_default_domain(joiner));
	KUNIT_EXPECT_PTR_EQ(test, joiner->attached, first->attached);
	expect_pasids(test, joiner, 0);
	KUNIT_EXPECT_FALSE(test, device_iommu_capable(&joiner->dev,
						      IOMMU_CAP_AUX_DOMAIN));
	KUNIT_EXPECT_EQ(test, iommu_enable_aux_domain(&joiner->dev),
			-EOPNOTSUPP);
	KUNIT_EXPECT_EQ(test, iommu_device_use_default_domain(&joiner->dev),
			-EBUSY);
	expect_reached(test, before, first);

	/* Nor what is attached while that is there */
	after = alloc_attach(test, first);
	expect_pasids(test, joiner, 0);
	detach(before, first);
	KUNIT_EXPECT_FALSE(test, device_iommu_capable(&joiner->dev,
						      IOMMU_CAP_AUX_DOMAIN));
	detach(after, first);
	KUNIT_EXPECT_TRUE(test, device_iommu_capable(&joiner->dev,
						     IOMMU_CAP_AUX_DOMAIN));

	/* Then it is a device like the other */
	bind_enable(test, joiner);
	KUNIT_EXPECT_EQ(test, attach(before, joiner), 0);
	expect_reached(test, before, first);
	expect_reached(test, before, joiner);
	detach(before, joiner);
	iommu_domain_free(before);
	iommu_domain_free(after);
	disable_unbind(joiner);
	disable_unbind(first);
}

/* The same when somebody else uses PASIDs, who has no attach handle */
static void test_join_raw_pasid(struct kunit *test)
{
	struct mock_device *first, *joiner;
	struct iommu_domain *domain;

	create(test);
	first = add(test, 0, 8);
	bind(test, first);
	domain = alloc(test, first);
	KUNIT_EXPECT_EQ(test,
			iommu_attach_device_pasid(domain, &first->dev, 7, NULL),
			0);
	joiner = add(test, 0, 8);
	expect_pasids(test, joiner, 0);
	iommu_detach_device_pasid(domain, &first->dev, 7);
	expect_pasids(test, first, 0);
	KUNIT_EXPECT_TRUE(test, device_iommu_capable(&joiner->dev,
						     IOMMU_CAP_AUX_DOMAIN));
	iommu_domain_free(domain);
	unbind(first);
}

/* A device with fewer numbers joins, and counts when it gets them */
static void test_join_fewer(struct kunit *test)
{
	struct mock_device *first, *other, *joiner;
	struct iommu_domain *domains[4];

	create(test);
	first = add_enabled(test, 0, 8);
	other = add_enabled(test, 1, 8);
	for (int i = 0; i < 3; i++)
		domains[i] = alloc_attach(test, first);
	KUNIT_EXPECT_EQ(test, attach(domains[2], other), 0);
	joiner = add(test, 0, 1);

	/* Not yet */
	domains[3] = alloc_attach(test, first);
	expect_reached(test, domains[3], first);
	expect_pasids(test, joiner, 0);
	mock_device_remove(joiner);
	expect_pasids(test, first, 4);
	joiner = add(test, 0, 1);
	for (int i = 0; i < 4; i++)
		detach(domains[i], first);

	/* Number 3, which the other group keeps, and then there is only one */
	KUNIT_EXPECT_EQ(test, attach(domains[2], first), -EOVERFLOW);
	expect_reached(test, domains[2], other);
	KUNIT_EXPECT_EQ(test, attach(domains[0], first), 0);
	expect_reached(test, domains[0], first);
	expect_reached(test, domains[0], joiner);
	KUNIT_EXPECT_EQ(test, attach(domains[1], first), -ENOSPC);
	expect_unattached(test, domains[1]);

	detach(domains[0], first);
	detach(domains[2], other);
	for (int i = 0; i < 4; i++)
		iommu_domain_free(domains[i]);
	disable_unbind(other);
	disable_unbind(first);
}

/* SVA takes its numbers from where the domains' come from */
static void test_numbers_are_shared(struct kunit *test)
{
	struct iommu_domain *domain, *raw;
	struct mock_device *mdev;
	ioasid_t taken;

	create(test);
	mdev = add_enabled(test, 0, 8);
	taken = iommu_alloc_global_pasid(&mdev->dev);
	KUNIT_ASSERT_EQ(test, taken, 1);
	domain = alloc_attach(test, mdev);
	KUNIT_EXPECT_EQ(test, iommu_auxiliary_id(domain), 2);
	detach(domain, mdev);
	iommu_free_global_pasid(taken);

	/* Who does not take it from there is in the way, but loses nothing */
	raw = alloc(test, mdev);
	KUNIT_ASSERT_EQ(test,
			iommu_attach_device_pasid(raw, &mdev->dev, 1, NULL), 0);
	KUNIT_EXPECT_EQ(test, attach(domain, mdev), -EBUSY);
	expect_unattached(test, domain);
	KUNIT_EXPECT_PTR_EQ(test, xa_load(&mdev->pasids, 1), (void *)raw);
	iommu_detach_device_pasid(raw, &mdev->dev, 1);
	KUNIT_EXPECT_EQ(test, attach(domain, mdev), 0);
	KUNIT_EXPECT_EQ(test, iommu_auxiliary_id(domain), 1);
	detach(domain, mdev);
	iommu_domain_free(domain);
	iommu_domain_free(raw);
	disable_unbind(mdev);
}

/* A device without a driver leaves, or is pulled out: its part goes with it */
static void test_leave(struct kunit *test)
{
	struct mock_device *first, *second;
	struct iommu_domain *domain;

	create(test);
	first = add(test, 0, 8);
	second = add(test, 0, 8);
	bind_enable(test, first);
	domain = alloc_attach(test, first);
	expect_reached(test, domain, second);

	mock_device_remove(second);
	expect_pasids(test, second, 0);
	expect_reached(test, domain, first);
	detach(domain, first);
	expect_unattached(test, domain);
	iommu_domain_free(domain);
	disable_unbind(first);
	expect_usable(test, first);
}

/* A device with a driver is pulled out: the driver core unbinds it first */
static void test_surprise_removal(struct kunit *test)
{
	struct mock_device *first, *second;
	struct iommu_domain *domain;

	create(test);
	first = add(test, 0, 8);
	second = add(test, 0, 8);
	bind_enable(test, first);
	bind_enable(test, second);
	domain = alloc_attach(test, first);
	KUNIT_EXPECT_EQ(test, attach(domain, second), 0);

	unbind(first);
	mock_device_remove(first);
	expect_pasids(test, first, 0);
	expect_reached(test, domain, second);
	unbind(second);
	mock_device_remove(second);
	expect_unattached(test, domain);
	iommu_domain_free(domain);
}

/* It leaves its group after its driver has gone without a word */
static void test_removed_enabled(struct kunit *test)
{
	struct mock_device *first, *second;
	struct iommu_domain *domain;

	create(test);
	first = add(test, 0, 8);
	second = add(test, 0, 8);
	bind_enable(test, first);
	domain = alloc_attach(test, first);

	unbind(first);
	mock_device_remove(first);
	expect_pasids(test, first, 0);
	expect_unattached(test, domain);
	iommu_domain_free(domain);
	expect_usable(test, second);
}

static void test_wrong_use(struct kunit *test)
{
	struct mock_device *mdev, *other;
	struct iommu_domain *domain;

	create(test);
	mdev = add(test, 0, 8);
	other = add_enabled(test, 1, 8);
	bind(test, mdev);
	domain = alloc(test, mdev);

	/* Not enabled */
	KUNIT_EXPECT_EQ(test, attach(domain, mdev), -EPERM);
	expect_unattached(test, domain);
	iommu_disable_aux_domain(&mdev->dev);
	KUNIT_EXPECT_EQ(test, iommu_enable_aux_domain(&mdev->dev), 0);
	KUNIT_EXPECT_EQ(test, iommu_enable_aux_domain(&mdev->dev), -EBUSY);

	/* Twice */
	KUNIT_EXPECT_EQ(test, attach(domain, mdev), 0);
	KUNIT_EXPECT_EQ(test, attach(domain, mdev), -EBUSY);
	expect_pasids(test, mdev, 1);

	/* What is attached elsewhere, and what is attached nowhere */
	detach(domain, other);
	expect_reached(test, domain, mdev);
	detach(domain, mdev);
	detach(domain, mdev);
	expect_unattached(test, domain);

	/* Those that the core may free, or that are nobody's */
	KUNIT_EXPECT_EQ(test, attach(mdev->attached, mdev), -EINVAL);
	KUNIT_EXPECT_EQ(test, attach(other->attached, mdev), -EINVAL);
	expect_pasids(test, mdev, 0);

	/* Disabled with a domain attached */
	KUNIT_EXPECT_EQ(test, attach(domain, mdev), 0);
	iommu_disable_aux_domain(&mdev->dev);
	expect_unattached(test, domain);
	iommu_domain_free(domain);
	disable_unbind(mdev);
	disable_unbind(other);
	expect_usable(test, mdev);
}

/* A domain serves two buses of one driver, and never another driver */
static void test_second_bus(struct kunit *test)
{
	bool same = *(const bool *)test->param_value;
	struct mock_iommu *mock = create(test);
	struct mock_iommu *second =
		mock_iommu_create_second(test, same ? mock : NULL);
	struct mock_device *mine, *other;
	struct iommu_domain *domain, *high;

	second->iommu.max_pasids = IOMMU_PASIDS;
	mock_iommu_register(test, second);
	mine = add_on(test, mock, 0, 8);
	other = add_on(test, second, 0, 1);
	bind_enable(test, mine);
	bind_enable(test, other);

	domain = alloc(test, mine);
	KUNIT_EXPECT_EQ(test, attach(domain, other), same ? 0 : -EINVAL);
	expect_pasids(test, other, same);
	KUNIT_EXPECT_EQ(test, attach(domain, mine), 0);
	KUNIT_EXPECT_EQ(test, iommu_auxiliary_id(domain), 1);
	/* Its number does not matter when it is of another driver */
	high = alloc_attach(test, mine);
	KUNIT_EXPECT_EQ(test, attach(high, other),
			same ? -EOVERFLOW : -EINVAL);
	detach(high, mine);
	iommu_domain_free(high);
	if (same)
		detach(domain, other);
	detach(domain, mine);
	iommu_domain_free(domain);
	disable_unbind(mine);
	disable_unbind(other);
}

static const bool bools[] = { false, true };

static void same_driver_desc(const bool *same, char *desc)
{
	strscpy(desc, *same ? "same driver" : "another driver",
		KUNIT_PARAM_DESC_SIZE);
}

KUNIT_ARRAY_PARAM(same_driver, bools, same_driver_desc);

/* The default domain's type can be changed before and after, not meanwhile */
static void test_type_change(struct kunit *test)
{
	struct iommu_domain *domain, *before;
	struct mock_device *mdev;
	char was[16], is[16];

	create(test);
	mdev = add(test, 0, 8);
	KUNIT_ASSERT_EQ(test, mock_group_write(mdev, "type", "identity"), 8);
	bind_enable(test, mdev);
	before = mdev->attached;
	KUNIT_ASSERT_GT(test, mock_group_read(mdev, "type", was, sizeof(was)),
			0);
	domain = alloc_attach(test, mdev);

	KUNIT_EXPECT_EQ(test, mock_group_write(mdev, "type", "DMA"), -EPERM);
	KUNIT_EXPECT_EQ(test, mock_group_write(mdev, "type", "auto"), -EPERM);
	KUNIT_EXPECT_PTR_EQ(test, mdev->attached, before);
	KUNIT_ASSERT_GT(test, mock_group_read(mdev, "type", is, sizeof(is)), 0);
	KUNIT_EXPECT_STREQ(test, is, was);
	expect_reached(test, domain, mdev);

	detach(domain, mdev);
	/* It is still a user */
	KUNIT_EXPECT_EQ(test, mock_group_write(mdev, "type", "DMA"), -EPERM);
	disable_unbind(mdev);
	KUNIT_EXPECT_EQ(test, mock_group_write(mdev, "type", "DMA"), 3);
	iommu_domain_free(domain);
}

/* A group is user space's or has auxiliary domains */
static void test_dma_owner(struct kunit *test)
{
	struct mock_device *mdev, *sibling;
	struct iommu_domain *domain;
	struct iommu_group *group;
	struct device *dev;

	create(test);
	mdev = add(test, 0, 8);
	sibling = add(test, 0, 8);
	group = mdev->dev.iommu_group;
	dev = &mdev->dev;

	/* Nobody uses the group */
	KUNIT_EXPECT_EQ(test, iommu_enable_aux_domain(dev), -EPERM);
	/* User space does */
	KUNIT_ASSERT_EQ(test, iommu_device_claim_dma_owner(dev, test), 0);
	KUNIT_EXPECT_EQ(test, iommu_enable_aux_domain(dev), -EPERM);
	iommu_device_release_dma_owner(dev);

	/* Another device's driver does, which is not enough */
	bind(test, sibling);
	KUNIT_EXPECT_EQ(test, iommu_enable_aux_domain(dev), -EPERM);
	/* Its own does, and the other one ends before */
	bind(test, mdev);
	KUNIT_EXPECT_EQ(test, iommu_enable_aux_domain(dev), 0);
	unbind(sibling);
	KUNIT_EXPECT_EQ(test, iommu_device_claim_dma_owner(dev, test), -EPERM);
	KUNIT_EXPECT_EQ(test, iommu_group_claim_dma_owner(group, test), -EPERM);
	domain = alloc_attach(test, mdev);
	KUNIT_EXPECT_EQ(test, iommu_group_claim_dma_owner(group, test), -EPERM);
	expect_reached(test, domain, mdev);
	detach(domain, mdev);
	iommu_domain_free(domain);
	disable_unbind(mdev);
	expect_usable(test, mdev);
}

/* The limit is read when the device is probed, and not when it may be asleep */
static void test_limit_is_kept(struct kunit *test)
{
	struct mock_iommu *mock = create(test);
	struct mock_device *mdev = add_enabled(test, 0, 8);
	struct iommu_domain *domain = alloc_attach(test, mdev);
	u32 limit = mock->iommu.max_pasids;

	mock->iommu.max_pasids = 0;
	detach(domain, mdev);
	KUNIT_EXPECT_TRUE(test, device_iommu_capable(&mdev->dev,
						     IOMMU_CAP_AUX_DOMAIN));
	KUNIT_EXPECT_EQ(test, attach(domain, mdev), 0);
	expect_reached(test, domain, mdev);
	detach(domain, mdev);
	mock->iommu.max_pasids = limit;
	iommu_domain_free(domain);
	disable_unbind(mdev);
	expect_usable(test, mdev);
}

/* Lazy or strict the domain is the same, so it may be changed, and no more */
static void test_flushing_changes(struct kunit *test)
{
	struct mock_device *mdev;
	struct iommu_domain *domain, *home;

	create(test);
	mdev = add(test, 0, 8);
	mock_group_write(mdev, "type", "DMA");
	home = mdev->attached;
	bind_enable(test, mdev);
	domain = alloc_attach(test, mdev);
	KUNIT_EXPECT_EQ(test, mock_group_write(mdev, "type", "DMA-FQ"), 6);
	KUNIT_EXPECT_EQ(test, mock_group_write(mdev, "type", "DMA"), 3);
	KUNIT_EXPECT_EQ(test, mock_group_write(mdev, "type", "identity"),
			-EPERM);
	KUNIT_EXPECT_PTR_EQ(test, mdev->attached, home);
	expect_reached(test, domain, mdev);
	detach(domain, mdev);
	iommu_domain_free(domain);
	disable_unbind(mdev);
	expect_usable(test, mdev);
}

/* A driver that leaves its domains attached, and does not disable */
static void test_unbind_attached(struct kunit *test)
{
	struct mock_iommu *mock = create(test);
	struct mock_device *mdev = add_enabled(test, 0, 8);
	struct iommu_domain *domains[3];

	for (int i = 0; i < ARRAY_SIZE(domains); i++)
		domains[i] = alloc_attach(test, mdev);
	unbind(mdev);
	for (int i = 0; i < ARRAY_SIZE(domains); i++) {
		expect_unattached(test, domains[i]);
		iommu_domain_free(domains[i]);
	}
	KUNIT_EXPECT_EQ(test, mock->live_domains, 1);
	expect_usable(test, mdev);
	bind_enable(test, mdev);
	expect_no_id_used(test, mdev);
	disable_unbind(mdev);
}

/* What a sibling's driver uses stays, and its own end is not disturbed */
static void test_unbind_of_sibling(struct kunit *test)
{
	struct iommu_domain *own, *shared;
	struct mock_device *mdev[3];

	create(test);
	for (int i = 0; i < ARRAY_SIZE(mdev); i++)
		mdev[i] = add(test, 0, 8);
	for (int i = 0; i < ARRAY_SIZE(mdev); i++)
		bind(test, mdev[i]);
	KUNIT_ASSERT_EQ(test, iommu_enable_aux_domain(&mdev[0]->dev), 0);
	KUNIT_ASSERT_EQ(test, iommu_enable_aux_domain(&mdev[1]->dev), 0);
	own = alloc_attach(test, mdev[0]);
	shared = alloc_attach(test, mdev[0]);
	KUNIT_EXPECT_EQ(test, attach(shared, mdev[1]), 0);

	unbind(mdev[2]);
	expect_pasids(test, mdev[0], 2);
	unbind(mdev[0]);
	expect_unattached(test, own);
	expect_pasids(test, mdev[0], 1);
	expect_reached(test, shared, mdev[1]);
	detach(shared, mdev[1]);
	disable_unbind(mdev[1]);
	iommu_domain_free(own);
	iommu_domain_free(shared);
	expect_usable(test, mdev[0]);
}

/* Its page tables are in use: they stay, and are nobody's any more */
static void test_free_attached(struct kunit *test)
{
	struct mock_iommu *mock = create(test);
	struct mock_device *mdev = add_enabled(test, 0, 8);
	struct iommu_domain *domain = alloc_attach(test, mdev);
	int live = mock->live_domains;
	struct iommu_domain *next;

	iommu_domain_free(domain);
	KUNIT_EXPECT_EQ(test, mock->live_domains, live);
	KUNIT_EXPECT_PTR_EQ(test, xa_load(&mdev->pasids, 1), (void *)domain);

	/* Nobody else gets the number, or the memory */
	next = alloc_attach(test, mdev);
	KUNIT_EXPECT_PTR_NE(test, next, domain);
	KUNIT_EXPECT_EQ(test, iommu_auxiliary_id(next), 2);
	detach(next, mdev);
	iommu_domain_free(next);

	unbind(mdev);
	expect_pasids(test, mdev, 0);
	KUNIT_EXPECT_EQ(test, mock->live_domains, live);
	expect_usable(test, mdev);
	/* Only a test can still know it */
	expect_unattached(test, domain);
	live = mock->live_domains;
	iommu_domain_free(domain);
	KUNIT_EXPECT_EQ(test, mock->live_domains, live - 1);
}

#define THREADS	4
#define ROUNDS	2000

/* A driver in a thread: a domain of its own, and one that all of them share */
struct worker {
	struct mock_device *mdev;
	struct iommu_domain *own;
	struct iommu_domain *shared;
	unsigned int wrong;
	struct completion done;
};

static void use_domains(struct worker *worker)
{
	int own, shared;

	worker->wrong += attach(worker->own, worker->mdev) != 0;
	worker->wrong += attach(worker->shared, worker->mdev) != 0;
	own = iommu_auxiliary_id(worker->own);
	shared = iommu_auxiliary_id(worker->shared);
	worker->wrong += own <= 0 || shared <= 0 || own == shared;
	worker->wrong += xa_load(&worker->mdev->pasids, own) != worker->own;
	worker->wrong += xa_load(&worker->mdev->pasids, shared) !=
			 worker->shared;
	detach(worker->own, worker->mdev);
	worker->wrong += iommu_auxiliary_id(worker->own) != -ENOENT;
	worker->wrong += iommu_auxiliary_id(worker->shared) != shared;
	detach(worker->shared, worker->mdev);
}

static int work(void *data)
{
	struct worker *worker = data;

	for (int i = 0; i < ROUNDS; i++) {
		use_domains(worker);
		cond_resched();
	}
	complete(&worker->done);
	return 0;
}

/* Two devices in each of two groups, each with a thread */
static void test_threads(struct kunit *test)
{
	struct worker workers[THREADS] = {};
	struct iommu_domain *shared;
	struct mock_device *extra;

	create(test);
	for (int i = 0; i < THREADS; i++)
		workers[i].mdev = add(test, i / 2, 8);
	for (int i = 0; i < THREADS; i++)
		bind_enable(test, workers[i].mdev);
	shared = alloc(test, workers[0].mdev);
	for (int i = 0; i < THREADS; i++) {
		workers[i].shared = shared;
		workers[i].own = alloc(test, workers[i].mdev);
		init_completion(&workers[i].done);
	}
	extra = add_enabled(test, 2, 8);

	for (int i = 0; i < THREADS; i++) {
		struct task_struct *task = kthread_run(work, &workers[i],
						       "aux_domain/%d", i);

		if (IS_ERR(task)) {
			KUNIT_FAIL(test, "no thread: %ld", PTR_ERR(task));
			complete(&workers[i].done);
		}
	}
	/* A device of another group comes to the shared domain and goes */
	for (int i = 0; i < ROUNDS; i++) {
		KUNIT_EXPECT_EQ(test, attach(shared, extra), 0);
		detach(shared, extra);
	}
	for (int i = 0; i < THREADS; i++) {
		wait_for_completion(&workers[i].done);
		KUNIT_EXPECT_EQ(test, workers[i].wrong, 0);
	}

	expect_unattached(test, shared);
	iommu_domain_free(shared);
	for (int i = 0; i < THREADS; i++) {
		expect_unattached(test, workers[i].own);
		iommu_domain_free(workers[i].own);
		expect_pasids(test, workers[i].mdev, 0);
		disable_unbind(workers[i].mdev);
	}
	expect_no_id_used(test, extra);
	disable_unbind(extra);
}

static struct kunit_case aux_domain_cases[] = {
	KUNIT_CASE_PARAM(test_capability, lack_gen_params),
	KUNIT_CASE(test_no_iommu),
	KUNIT_CASE_PARAM(test_many_domains, limit_gen_params),
	KUNIT_CASE(test_shared_by_groups),
	KUNIT_CASE(test_limit_below_id),
	KUNIT_CASE(test_shared_in_group),
	KUNIT_CASE(test_limit_of_group),
	KUNIT_CASE(test_attach_fails),
	KUNIT_CASE(test_join),
	KUNIT_CASE(test_join_raw_pasid),
	KUNIT_CASE(test_join_fewer),
	KUNIT_CASE(test_numbers_are_shared),
	KUNIT_CASE(test_leave),
	KUNIT_CASE(test_surprise_removal),
	KUNIT_CASE(test_removed_enabled),
	KUNIT_CASE(test_wrong_use),
	KUNIT_CASE_PARAM(test_second_bus, same_driver_gen_params),
	KUNIT_CASE(test_type_change),
	KUNIT_CASE(test_dma_owner),
	KUNIT_CASE(test_limit_is_kept),
	KUNIT_CASE(test_flushing_changes),
	KUNIT_CASE(test_unbind_attached),
	KUNIT_CASE(test_unbind_of_sibling),
	KUNIT_CASE(test_free_attached),
	KUNIT_CASE(test_threads),
	{}
};

static struct kunit_suite aux_domain_suite = {
	.name = "iommu_aux_domain",
	.test_cases = aux_domain_cases,
};

kunit_test_suite(aux_domain_suite);
