// SPDX-License-Identifier: GPL-2.0-only
/*
 * The wish for translation on a machine whose devices bypass the IOMMU.
 */
#include <kunit/test.h>
#include <linux/iommu.h>

#include "mock_iommu.h"

#define DMA		IOMMU_DOMAIN_DMA
#define IDENTITY	IOMMU_DOMAIN_IDENTITY

/* The devices' own default is put back, strict, when a test ends */
static void default_translated(void *unused)
{
	iommu_set_default_translated(false);
}

static struct mock_iommu *create_bypassing(struct kunit *test)
{
	struct mock_iommu *mock = mock_iommu_create(test);

	if (!iommu_default_passthrough()) {
		iommu_set_default_passthrough(false);
		KUNIT_ASSERT_EQ(test,
				kunit_add_action_or_reset(test,
							  default_translated,
							  NULL), 0);
	}
	return mock;
}

static struct mock_device *wishing_device(struct kunit *test,
					  unsigned int group, bool wishes)
{
	struct mock_device *mdev = mock_device_alloc(test, group);

	mdev->dev.iommu_translated = wishes;
	mdev->dev.iommu_wish_parameter = wishes;
	return mdev;
}

static void expect_group(struct kunit *test, struct mock_device *mdev,
			 bool translated, const char *source)
{
	char buf[32] = "";

	KUNIT_ASSERT_NOT_NULL(test, mdev->attached);
	KUNIT_EXPECT_TRUE(test,
			  iommu_is_dma_domain(mdev->attached) == translated);
	KUNIT_EXPECT_TRUE(test, mdev->dev.dma_iommu == translated);
	mock_group_read(mdev, "type_source", buf, sizeof(buf));
	KUNIT_EXPECT_STREQ(test, buf, source);
}

static void test_one_is_translated(struct kunit *test)
{
	struct mock_iommu *mock = create_bypassing(test);
	struct mock_device *plain = wishing_device(test, 0, false);
	struct mock_device *named = wishing_device(test, 1, true);
	struct mock_device *shares = wishing_device(test, 1, false);

	/* What the others of the group wish does not matter */
	shares->dev.iommu_passthrough = true;
	mock_device_add(test, plain);
	mock_device_add(test, named);
	mock_device_add(test, shares);
	mock_iommu_register(test, mock);
	expect_group(test, plain, false, "default\n");
	expect_group(test, named, true, "parameter\n");
	expect_group(test, shares, true, "parameter\n");
	KUNIT_EXPECT_EQ(test, mock->live_domains, 2);
}

static void test_attach_fails(struct kunit *test)
{
	struct mock_iommu *mock = create_bypassing(test);
	struct mock_device *named = wishing_device(test, 0, true);
	struct mock_device *refuses = wishing_device(test, 0, true);

	refuses->fail_paging_attach = true;
	mock_device_add(test, named);
	mock_device_add(test, refuses);
	mock_iommu_register(test, mock);
	expect_group(test, named, false, "fallback\n");
	expect_group(test, refuses, false, "fallback\n");
	KUNIT_EXPECT_PTR_EQ(test, named->attached, refuses->attached);
	KUNIT_EXPECT_EQ(test, mock->live_domains, 1);
}

static void test_alloc_fails(struct kunit *test)
{
	struct mock_iommu *mock = create_bypassing(test);
	struct mock_device *named = wishing_device(test, 0, true);

	mock->fail_paging_allocs = 1;
	mock_device_add(test, named);
	mock_iommu_register(test, mock);
	expect_group(test, named, false, "fallback\n");
}

static void test_driver_requires_identity(struct kunit *test)
{
	struct mock_iommu *mock = create_bypassing(test);
	struct mock_device *named = wishing_device(test, 0, true);

	named->def_type = IDENTITY;
	mock_device_add(test, named);
	mock_iommu_register(test, mock);
	expect_group(test, named, false, "driver\n");
}

/* A plain device that joins an idle group that bypasses, then one that may not */
static void test_joins(struct kunit *test)
{
	struct mock_iommu *mock = create_bypassing(test);
	struct mock_device *plain = wishing_device(test, 0, false);
	struct mock_device *next = wishing_device(test, 0, false);
	struct mock_device *named = wishing_device(test, 0, true);

	mock_iommu_register(test, mock);
	mock_device_add(test, plain);
	mock_device_add(test, next);
	expect_group(test, next, false, "default\n");
	mock_device_add(test, named);
	expect_group(test, plain, true, "parameter\n");
	expect_group(test, next, true, "parameter\n");
	expect_group(test, named, true, "parameter\n");
	KUNIT_EXPECT_EQ(test, mock->live_domains, 1);
}

static struct kunit_case type_translated_cases[] = {
	KUNIT_CASE(test_one_is_translated),
	KUNIT_CASE(test_attach_fails),
	KUNIT_CASE(test_alloc_fails),
	KUNIT_CASE(test_driver_requires_identity),
	KUNIT_CASE(test_joins),
	{}
};

static struct kunit_suite type_translated_suite = {
	.name = "iommu_type_translated",
	.test_cases = type_translated_cases,
};

kunit_test_suite(type_translated_suite);
