// SPDX-License-Identifier: GPL-2.0-only
/*
 * The type of a group's default domain: the rules as a table, and what becomes
 * of them in real groups of a mock IOMMU driver.
 */
#include <kunit/test.h>
#include <linux/iommu.h>
#include <linux/pci.h>

#include "../default-type.h"
#include "mock_iommu.h"

#define DMA		IOMMU_DOMAIN_DMA
#define DMA_FQ		IOMMU_DOMAIN_DMA_FQ
#define IDENTITY	IOMMU_DOMAIN_IDENTITY

/* The devices that the rules name; they only have to be told apart */
enum { NOBODY, ANN, BOB };

struct rule_case {
	const char *name;
	unsigned int global_type;
	unsigned int driver_type;
	bool mem_encrypt;
	int untrusted, deferred, passthrough, translated, unwilling;
	bool by_parameter;
	/* expected */
	unsigned int type;
	enum iommu_type_source source;
	enum iommu_wish_refusal refusal;
	int culprit;
};

static const struct rule_case rule_cases[] = {
	{ "nothing wished, lazy default", DMA_FQ, .unwilling = ANN,
	  .type = 0, .source = IOMMU_TYPE_DEFAULT,
	  .refusal = IOMMU_WISH_ALONE, .culprit = ANN },
	{ "nothing wished, identity default", IDENTITY, .unwilling = ANN,
	  .type = 0, .source = IOMMU_TYPE_DEFAULT,
	  .refusal = IOMMU_WISH_ALONE, .culprit = ANN },
	{ "only bridges", DMA_FQ,
	  .type = 0, .source = IOMMU_TYPE_DEFAULT },
	{ "identity by parameter", DMA_FQ, .passthrough = ANN,
	  .by_parameter = true,
	  .type = IDENTITY, .source = IOMMU_TYPE_PARAMETER },
	{ "identity by quirk", DMA_FQ, .passthrough = ANN,
	  .type = IDENTITY, .source = IOMMU_TYPE_QUIRK },
	{ "identity, strict default", DMA, .passthrough = ANN,
	  .by_parameter = true,
	  .type = IDENTITY, .source = IOMMU_TYPE_PARAMETER },
	{ "identity as everybody", IDENTITY, .passthrough = ANN,
	  .by_parameter = true,
	  .type = 0, .source = IOMMU_TYPE_PARAMETER },
	{ "identity, one does not", DMA_FQ, .passthrough = ANN,
	  .unwilling = BOB, .by_parameter = true,
	  .type = 0, .source = IOMMU_TYPE_DEFAULT,
	  .refusal = IOMMU_WISH_ALONE, .culprit = BOB },
	{ "identity, untrusted", DMA_FQ, .passthrough = ANN, .untrusted = ANN,
	  .by_parameter = true,
	  .type = DMA, .source = IOMMU_TYPE_UNTRUSTED,
	  .refusal = IOMMU_WISH_UNTRUSTED, .culprit = ANN },
	{ "identity, driver requires DMA", DMA_FQ, DMA, .passthrough = ANN,
	  .by_parameter = true,
	  .type = DMA, .source = IOMMU_TYPE_DRIVER,
	  .refusal = IOMMU_WISH_DRIVER },
	{ "identity, driver requires it too", DMA_FQ, IDENTITY,
	  .passthrough = ANN, .by_parameter = true,
	  .type = IDENTITY, .source = IOMMU_TYPE_DRIVER,
	  .refusal = IOMMU_WISH_DRIVER },
	{ "identity, memory encrypted", DMA_FQ, .mem_encrypt = true,
	  .passthrough = ANN, .by_parameter = true,
	  .type = 0, .source = IOMMU_TYPE_DEFAULT,
	  .refusal = IOMMU_WISH_ENCRYPTED },
	{ "identity, crash kernel", DMA_FQ, .passthrough = ANN,
	  .deferred = BOB, .by_parameter = true,
	  .type = 0, .source = IOMMU_TYPE_DEFAULT,
	  .refusal = IOMMU_WISH_KDUMP, .culprit = BOB },
	{ "translated under identity, lazy", IDENTITY, .translated = ANN,
	  .unwilling = ANN, .by_parameter = true,
	  .type = DMA_FQ, .source = IOMMU_TYPE_PARAMETER,
	  .refusal = IOMMU_WISH_OPPOSED, .culprit = ANN },
	{ "translated by quirk", IDENTITY, .translated = ANN,
	  .unwilling = ANN,
	  .type = DMA_FQ, .source = IOMMU_TYPE_QUIRK,
	  .refusal = IOMMU_WISH_OPPOSED, .culprit = ANN },
	{ "translated as everybody", DMA_FQ, .translated = ANN,
	  .unwilling = ANN, .by_parameter = true,
	  .type = 0, .source = IOMMU_TYPE_PARAMETER,
	  .refusal = IOMMU_WISH_OPPOSED, .culprit = ANN },
	{ "translated and identity on one", IDENTITY, .translated = ANN,
	  .passthrough = ANN, .by_parameter = true,
	  .type = DMA_FQ, .source = IOMMU_TYPE_PARAMETER,
	  .refusal = IOMMU_WISH_OPPOSED, .culprit = ANN },
	{ "translated, the others identity", IDENTITY, .translated = BOB,
	  .passthrough = ANN, .unwilling = BOB, .by_parameter = true,
	  .type = DMA_FQ, .source = IOMMU_TYPE_PARAMETER,
	  .refusal = IOMMU_WISH_OPPOSED, .culprit = BOB },
	{ "translated, memory encrypted", IDENTITY, .mem_encrypt = true,
	  .translated = ANN, .unwilling = ANN, .by_parameter = true,
	  .type = DMA_FQ, .source = IOMMU_TYPE_PARAMETER,
	  .refusal = IOMMU_WISH_OPPOSED, .culprit = ANN },
	{ "translated, driver requires identity", DMA_FQ, IDENTITY,
	  .translated = ANN, .unwilling = ANN, .by_parameter = true,
	  .type = IDENTITY, .source = IOMMU_TYPE_DRIVER,
	  .refusal = IOMMU_WISH_DRIVER },
	{ "translated, untrusted", IDENTITY, .translated = ANN,
	  .untrusted = ANN, .unwilling = ANN, .by_parameter = true,
	  .type = DMA, .source = IOMMU_TYPE_UNTRUSTED,
	  .refusal = IOMMU_WISH_UNTRUSTED, .culprit = ANN },
};

static void rule_case_name(const struct rule_case *rule, char *desc)
{
	strscpy(desc, rule->name, KUNIT_PARAM_DESC_SIZE);
}

KUNIT_ARRAY_PARAM(rule, rule_cases, rule_case_name);

static void test_rule(struct kunit *test)
{
	const struct rule_case *rule = test->param_value;
	struct iommu_type_decision decision;
	struct device *person[BOB + 1] = {};
	struct device *people;

	people = kunit_kcalloc(test, BOB + 1, sizeof(*people), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, people);
	for (int i = ANN; i <= BOB; i++) {
		people[i].iommu_wish_parameter = rule->by_parameter;
		person[i] = &people[i];
	}

	iommu_decide_default_type(&(struct iommu_type_request) {
		.global_type = rule->global_type,
		.dma_type = DMA_FQ,
		.driver_type = rule->driver_type,
		.mem_encrypt = rule->mem_encrypt,
		.untrusted = person[rule->untrusted],
		.deferred = person[rule->deferred],
		.passthrough = person[rule->passthrough],
		.translated = person[rule->translated],
		.unwilling = person[rule->unwilling],
	}, &decision);

	KUNIT_EXPECT_EQ(test, decision.type, rule->type);
	KUNIT_EXPECT_EQ(test, decision.source, rule->source);
	KUNIT_EXPECT_EQ(test, decision.refusal, rule->refusal);
	KUNIT_EXPECT_PTR_EQ(test, decision.culprit, person[rule->culprit]);
}

/* iommu.strict decides between the two kinds of translation */
static void test_rule_translated_strict(struct kunit *test)
{
	struct device dev = { .iommu_translated = true };
	struct iommu_type_request request = {
		.global_type = IDENTITY,
		.dma_type = DMA,
		.translated = &dev,
	};
	struct iommu_type_decision decision;

	iommu_decide_default_type(&request, &decision);
	KUNIT_EXPECT_EQ(test, decision.type, DMA);
}

/* A PCI function that is on no bus, but looks like one on the PCI bus */
static struct device *fake_pci_function(struct kunit *test, u8 hdr_type)
{
	struct pci_dev *pdev;

	pdev = kunit_kzalloc(test, sizeof(*pdev), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, pdev);
	pdev->hdr_type = hdr_type;
	pdev->dev.bus = &pci_bus_type;
	return &pdev->dev;
}

/* A bridge neither grants nor blocks identity, whatever it wishes */
static void test_request_bridge(struct kunit *test)
{
	struct device *bridge = fake_pci_function(test, PCI_HEADER_TYPE_BRIDGE);
	struct device *disk = fake_pci_function(test, PCI_HEADER_TYPE_NORMAL);
	struct iommu_type_request request = {};

	iommu_type_request_add(&request, bridge);
	KUNIT_EXPECT_NULL(test, request.unwilling);
	bridge->iommu_passthrough = true;
	iommu_type_request_add(&request, bridge);
	KUNIT_EXPECT_NULL(test, request.passthrough);

	iommu_type_request_add(&request, disk);
	KUNIT_EXPECT_PTR_EQ(test, request.unwilling, disk);
}

/* But it may be what the protection is for */
static void test_request_bridge_protected(struct kunit *test)
{
	struct device *bridge = fake_pci_function(test, PCI_HEADER_TYPE_BRIDGE);
	struct iommu_type_request request = {};

	bridge->iommu_translated = true;
	to_pci_dev(bridge)->untrusted = true;
	iommu_type_request_add(&request, bridge);
	KUNIT_EXPECT_PTR_EQ(test, request.translated, bridge);
	KUNIT_EXPECT_PTR_EQ(test, request.untrusted, bridge);
}

/* A CardBus bridge or a function with another header does DMA like any other */
static void test_request_other_headers(struct kunit *test)
{
	struct device *cardbus = fake_pci_function(test,
						   PCI_HEADER_TYPE_CARDBUS);
	struct iommu_type_request request = {};

	iommu_type_request_add(&request, cardbus);
	KUNIT_EXPECT_PTR_EQ(test, request.unwilling, cardbus);
}

/* The command line is named as the source when any of the wishes is from it */
static void test_request_prefers_parameter(struct kunit *test)
{
	struct device *quirk = fake_pci_function(test, PCI_HEADER_TYPE_NORMAL);
	struct device *named = fake_pci_function(test, PCI_HEADER_TYPE_NORMAL);
	struct iommu_type_request request = {};

	quirk->iommu_passthrough = true;
	named->iommu_passthrough = true;
	named->iommu_wish_parameter = true;
	iommu_type_request_add(&request, quirk);
	iommu_type_request_add(&request, named);
	iommu_type_request_add(&request, quirk);
	KUNIT_EXPECT_PTR_EQ(test, request.passthrough, named);
	KUNIT_EXPECT_NULL(test, request.unwilling);
}

static void test_request_crash_kernel(struct kunit *test)
{
	struct device *disk = fake_pci_function(test, PCI_HEADER_TYPE_NORMAL);
	struct iommu_type_request request = {};
	struct dev_iommu iommu = {};

	disk->iommu = &iommu;
	iommu_type_request_add(&request, disk);
	KUNIT_EXPECT_NULL(test, request.deferred);
	iommu.attach_deferred = 1;
	iommu_type_request_add(&request, disk);
	KUNIT_EXPECT_PTR_EQ(test, request.deferred, disk);
}

/* A wish gives way to the system's default, and that to nothing */
static void test_yield(struct kunit *test)
{
	struct iommu_type_decision decision = {
		.type = DMA_FQ,
		.source = IOMMU_TYPE_PARAMETER,
		.wish = DMA,
		.can_yield = true,
	};

	KUNIT_EXPECT_EQ(test, iommu_type_settled(&decision, DMA),
			IOMMU_TYPE_PARAMETER);
	iommu_type_yield(&decision);
	KUNIT_EXPECT_EQ(test, decision.type, 0);
	KUNIT_EXPECT_FALSE(test, decision.can_yield);
	KUNIT_EXPECT_EQ(test, iommu_type_settled(&decision, IDENTITY),
			IOMMU_TYPE_FALLBACK);
}

/* Without its wish a device that works better with identity gets that */
static void test_yield_to_preference(struct kunit *test)
{
	struct device dev = { .iommu_translated = true };
	struct iommu_type_request request = {
		.global_type = DMA_FQ,
		.dma_type = DMA_FQ,
		.prefers_identity = true,
		.translated = &dev,
	};
	struct iommu_type_decision decision;

	iommu_decide_default_type(&request, &decision);
	KUNIT_EXPECT_EQ(test, decision.type, DMA_FQ);
	KUNIT_ASSERT_TRUE(test, decision.can_yield);
	iommu_type_yield(&decision);
	KUNIT_EXPECT_EQ(test, decision.type, IDENTITY);
	KUNIT_EXPECT_FALSE(test, decision.can_yield);
}

/* What the driver or trust requires is no wish and has no way out */
static void test_requirement_does_not_yield(struct kunit *test)
{
	struct iommu_type_request request = {
		.global_type = IDENTITY,
		.dma_type = DMA_FQ,
		.driver_type = DMA,
	};
	struct iommu_type_decision decision;

	iommu_decide_default_type(&request, &decision);
	KUNIT_EXPECT_EQ(test, decision.type, DMA);
	KUNIT_EXPECT_FALSE(test, decision.can_yield);
	KUNIT_EXPECT_EQ(test, iommu_type_settled(&decision, DMA),
			IOMMU_TYPE_DRIVER);
}

struct reason_case {
	const char *reason;
	bool translated;
	enum iommu_wish_refusal refusal;
	unsigned int wish;
	unsigned int type;
	bool names_culprit;
};

static const struct reason_case reason_cases[] = {
	{ NULL, false, IOMMU_WISH_OK, IDENTITY, IDENTITY },
	{ NULL, true, IOMMU_WISH_OPPOSED, DMA, DMA_FQ },
	/* What was asked for is there, for whatever reason */
	{ NULL, false, IOMMU_WISH_ALONE, 0, IDENTITY },
	{ NULL, true, IOMMU_WISH_UNTRUSTED, 0, DMA },
	{ "the group has an untrusted device, ",
	  false, IOMMU_WISH_UNTRUSTED, 0, DMA, true },
	{ "the IOMMU driver, or this kernel's configuration, requires another type",
	  false, IOMMU_WISH_DRIVER, 0, DMA, true },
	{ "the IOMMU driver, or this kernel's configuration, requires another type",
	  true, IOMMU_WISH_DRIVER, 0, IDENTITY },
	{ "the IOMMU driver, or this kernel's configuration, requires another type",
	  false, IOMMU_WISH_DRIVER, 0, IOMMU_DOMAIN_PLATFORM, true },
	{ "the group has a device to be translated, ",
	  false, IOMMU_WISH_OPPOSED, DMA, DMA_FQ, true },
	{ "the group has a device that does not wish it, ",
	  false, IOMMU_WISH_ALONE, 0, DMA_FQ, true },
	{ "the group has only bridges",
	  false, IOMMU_WISH_OK, 0, DMA_FQ, true },
	{ "memory is encrypted",
	  false, IOMMU_WISH_ENCRYPTED, 0, DMA_FQ, true },
	{ "a crashed kernel left translation enabled for ",
	  false, IOMMU_WISH_KDUMP, 0, DMA_FQ, true },
	{ "the group is in use",
	  false, IOMMU_WISH_IN_USE, IDENTITY, DMA_FQ, true },
	{ "the group is in use",
	  true, IOMMU_WISH_IN_USE, DMA, IDENTITY },
	{ "the group's type was chosen in sysfs",
	  true, IOMMU_WISH_CHOSEN, DMA, IDENTITY },
	{ "such a domain cannot be allocated or attached",
	  false, IOMMU_WISH_OK, IDENTITY, DMA_FQ, true },
	{ "such a domain cannot be allocated or attached",
	  true, IOMMU_WISH_OPPOSED, DMA, IDENTITY },
};

static void reason_case_name(const struct reason_case *reason, char *desc)
{
	snprintf(desc, KUNIT_PARAM_DESC_SIZE, "%s wish: %s",
		 reason->translated ? "translated" : "identity",
		 reason->reason ?: "granted");
}

KUNIT_ARRAY_PARAM(reason, reason_cases, reason_case_name);

/* The log says the reason that applies, and names who it is about */
static void test_reason(struct kunit *test)
{
	const struct reason_case *param = test->param_value;
	struct device *dev = fake_pci_function(test, PCI_HEADER_TYPE_NORMAL);
	struct device *other = fake_pci_function(test, PCI_HEADER_TYPE_NORMAL);
	struct iommu_type_decision decision = {
		.wish = param->wish,
		.refusal = param->refusal,
		.culprit = other,
	};
	struct device *culprit;
	const char *reason;

	dev->iommu_passthrough = !param->translated;
	dev->iommu_translated = param->translated;
	reason = iommu_wish_refused(dev, &decision, param->type, &culprit);
	if (param->reason)
		KUNIT_EXPECT_STREQ(test, reason, param->reason);
	else
		KUNIT_EXPECT_NULL(test, reason);
	KUNIT_EXPECT_PTR_EQ(test, culprit, param->names_culprit ? other : NULL);
}

static void test_set_wish(struct kunit *test)
{
	struct mock_iommu *mock = mock_iommu_create(test);
	struct mock_device *mdev = mock_device_alloc(test, 0);
	struct device *dev = &mdev->dev;

	KUNIT_EXPECT_EQ(test, iommu_device_set_wish(dev, IOMMU_DOMAIN_UNMANAGED),
			-EINVAL);
	KUNIT_EXPECT_EQ(test, iommu_device_set_wish(dev, 0), -EINVAL);
	KUNIT_EXPECT_FALSE(test, dev->iommu_passthrough);
	KUNIT_EXPECT_FALSE(test, dev->iommu_translated);

	dev->iommu_wish_parameter = true;
	KUNIT_EXPECT_EQ(test, iommu_device_set_wish(dev, IDENTITY), -EEXIST);
	KUNIT_EXPECT_FALSE(test, dev->iommu_passthrough);

	dev->iommu_wish_parameter = false;
	KUNIT_EXPECT_EQ(test, iommu_device_set_wish(dev, IDENTITY), 0);
	KUNIT_EXPECT_TRUE(test, dev->iommu_passthrough);
	KUNIT_EXPECT_FALSE(test, dev->iommu_translated);
	KUNIT_EXPECT_EQ(test, iommu_device_set_wish(dev, DMA), 0);
	KUNIT_EXPECT_TRUE(test, dev->iommu_translated);

	mock_iommu_register(test, mock);
	mock_device_add(test, mdev);
	KUNIT_EXPECT_EQ(test, iommu_device_set_wish(dev, IDENTITY), -EBUSY);
}

/* The tests below need a default that differs from the wish */
static struct mock_iommu *create_translating(struct kunit *test)
{
	if (iommu_default_passthrough())
		kunit_skip(test, "the system's default is identity");
	return mock_iommu_create(test);
}

static struct mock_device *wishing_device(struct kunit *test,
					  unsigned int group, bool wishes)
{
	struct mock_device *mdev = mock_device_alloc(test, group);

	if (wishes) {
		mdev->dev.iommu_passthrough = true;
		mdev->dev.iommu_wish_parameter = true;
	}
	return mdev;
}

static void expect_file(struct kunit *test, struct mock_device *mdev,
			const char *file, const char *text)
{
	char buf[32] = "";

	KUNIT_EXPECT_GT(test, mock_group_read(mdev, file, buf, sizeof(buf)), 0);
	KUNIT_EXPECT_STREQ(test, buf, text);
}

static void expect_identity(struct kunit *test, struct mock_device *mdev,
			    const char *source)
{
	KUNIT_ASSERT_NOT_NULL(test, mdev->attached);
	KUNIT_EXPECT_EQ(test, mdev->attached->type, IDENTITY);
	expect_file(test, mdev, "type", "identity\n");
	expect_file(test, mdev, "type_source", source);
}

static void expect_translated(struct kunit *test, struct mock_device *mdev,
			      const char *source)
{
	KUNIT_ASSERT_NOT_NULL(test, mdev->attached);
	KUNIT_EXPECT_TRUE(test, iommu_is_dma_domain(mdev->attached));
	KUNIT_EXPECT_TRUE(test, mdev->dev.dma_iommu);
	expect_file(test, mdev, "type_source", source);
}

static void expect_said(struct kunit *test, struct mock_device *mdev,
			unsigned int times, const char *reason)
{
	KUNIT_EXPECT_EQ(test, mdev->reports, times);
	if (reason) {
		KUNIT_ASSERT_NOT_NULL(test, mdev->reason);
		KUNIT_EXPECT_STREQ(test, mdev->reason, reason);
	} else {
		KUNIT_EXPECT_NULL(test, mdev->reason);
	}
}

#define CANNOT_BE_HAD	"such a domain cannot be allocated or attached"

/* Three groups, the second one of two devices; which of them wish is varied */
static void add_three_groups(struct kunit *test, struct mock_device *mdev[4],
			     bool first, bool second, bool second_too,
			     bool third)
{
	mdev[0] = wishing_device(test, 0, first);
	mdev[1] = wishing_device(test, 1, second);
	mdev[2] = wishing_device(test, 1, second_too);
	mdev[3] = wishing_device(test, 2, third);
	for (int i = 0; i < 4; i++)
		mock_device_add(test, mdev[i]);
}

static void test_boot_without_wishes(struct kunit *test)
{
	struct mock_iommu *mock = create_translating(test);
	struct mock_device *mdev[4];

	add_three_groups(test, mdev, false, false, false, false);
	mock_iommu_register(test, mock);
	for (int i = 0; i < 4; i++)
		expect_translated(test, mdev[i], "default\n");
	KUNIT_EXPECT_EQ(test, mock->identity_allocs, 0);
	KUNIT_EXPECT_EQ(test, mock->live_domains, 3);
}

static void test_boot_wish_granted(struct kunit *test)
{
	struct mock_iommu *mock = create_translating(test);
	struct mock_device *mdev[4];

	add_three_groups(test, mdev, false, true, true, false);
	mock_iommu_register(test, mock);
	expect_translated(test, mdev[0], "default\n");
	expect_identity(test, mdev[1], "parameter\n");
	expect_identity(test, mdev[2], "parameter\n");
	expect_translated(test, mdev[3], "default\n");
	/* No domain was allocated to be thrown away */
	KUNIT_EXPECT_EQ(test, mock->live_domains, 3);
}

/* For groups that get an identity domain, no paging domain is ever asked for */
static void test_boot_all_granted(struct kunit *test)
{
	struct mock_iommu *mock = create_translating(test);
	struct mock_device *mdev[3];

	for (int i = 0; i < ARRAY_SIZE(mdev); i++) {
		mdev[i] = wishing_device(test, i / 2, true);
		mock_device_add(test, mdev[i]);
	}
	mock->fail_paging_allocs = 1;
	mock_iommu_register(test, mock);
	for (int i = 0; i < ARRAY_SIZE(mdev); i++)
		expect_identity(test, mdev[i], "parameter\n");
	KUNIT_EXPECT_EQ(test, mock->fail_paging_allocs, 1);
	KUNIT_EXPECT_EQ(test, mock->identity_allocs, 2);
	KUNIT_EXPECT_EQ(test, mock->live_domains, 2);
	mock->fail_paging_allocs = 0;
}

static void test_boot_wish_not_shared(struct kunit *test)
{
	struct mock_iommu *mock = create_translating(test);
	struct mock_device *mdev[4];

	add_three_groups(test, mdev, true, true, false, true);
	mock_iommu_register(test, mock);
	expect_identity(test, mdev[0], "parameter\n");
	expect_translated(test, mdev[1], "default\n");
	expect_translated(test, mdev[2], "default\n");
	expect_identity(test, mdev[3], "parameter\n");
}

static void test_boot_wish_against_driver(struct kunit *test)
{
	struct mock_iommu *mock = create_translating(test);
	struct mock_device *mdev = wishing_device(test, 0, true);

	mdev->def_type = DMA;
	mock_device_add(test, mdev);
	mock_iommu_register(test, mock);
	expect_translated(test, mdev, "driver\n");
	expect_file(test, mdev, "type", "DMA\n");
}

static void test_boot_quirk(struct kunit *test)
{
	struct mock_iommu *mock = create_translating(test);
	struct mock_device *mdev = mock_device_alloc(test, 0);

	KUNIT_ASSERT_EQ(test, iommu_device_set_wish(&mdev->dev, IDENTITY), 0);
	mock_device_add(test, mdev);
	mock_iommu_register(test, mock);
	expect_identity(test, mdev, "quirk\n");
}

/* One group's identity domain cannot be had: nobody else is worse off */
static void test_boot_identity_alloc_fails(struct kunit *test)
{
	struct mock_iommu *mock = create_translating(test);
	struct mock_device *mdev[4];

	add_three_groups(test, mdev, true, true, true, true);
	mock->fail_identity_alloc = 2;
	mock_iommu_register(test, mock);
	KUNIT_EXPECT_EQ(test, mock->identity_allocs, 3);
	expect_identity(test, mdev[0], "parameter\n");
	expect_translated(test, mdev[1], "fallback\n");
	expect_translated(test, mdev[2], "fallback\n");
	expect_identity(test, mdev[3], "parameter\n");
	/* The log says so, once for each device */
	expect_said(test, mdev[0], 1, NULL);
	expect_said(test, mdev[1], 1, CANNOT_BE_HAD);
	expect_said(test, mdev[2], 1, CANNOT_BE_HAD);
	expect_said(test, mdev[3], 1, NULL);
}

/* Nothing is said of devices without wishes, nor where nothing changes */
static void test_log_is_quiet(struct kunit *test)
{
	struct mock_iommu *mock = create_translating(test);
	struct mock_device *plain = wishing_device(test, 0, false);
	struct mock_device *named = wishing_device(test, 1, true);

	mock_device_add(test, plain);
	mock_device_add(test, named);
	mock_iommu_register(test, mock);
	expect_said(test, plain, 0, NULL);
	expect_said(test, named, 1, NULL);
	KUNIT_EXPECT_EQ(test, mock_group_write(named, "type", "auto"), 4);
	KUNIT_EXPECT_EQ(test, mock_group_write(named, "type", "identity"), 8);
	KUNIT_EXPECT_EQ(test, mock_group_write(named, "type", "DMA"), 3);
	expect_said(test, named, 1, NULL);
	KUNIT_EXPECT_EQ(test, mock_group_write(named, "type", "auto"), 4);
	expect_said(test, named, 2, NULL);
}

/* A driver that contradicts itself: identity, as it has always been at boot */
static void test_boot_requirements_contradict(struct kunit *test)
{
	struct mock_iommu *mock = create_translating(test);
	struct mock_device *first = mock_device_alloc(test, 0);
	struct mock_device *second = mock_device_alloc(test, 0);

	first->def_type = DMA;
	second->def_type = IDENTITY;
	mock_device_add(test, first);
	mock_device_add(test, second);
	mock_iommu_register(test, mock);
	expect_identity(test, first, "driver\n");
	expect_identity(test, second, "driver\n");
}

/* What must be translated and must not be is blocked, and gets no driver */
static void test_boot_untrusted_against_driver(struct kunit *test)
{
	struct mock_iommu *mock = create_translating(test);
	struct mock_device *mdev = wishing_device(test, 0, true);

	mdev->untrusted = true;
	mdev->def_type = IDENTITY;
	mock_device_add(test, mdev);
	mock_iommu_register(test, mock);
	KUNIT_ASSERT_NOT_NULL(test, mdev->attached);
	KUNIT_EXPECT_EQ(test, mdev->attached->type, IOMMU_DOMAIN_UNMANAGED);
	KUNIT_EXPECT_EQ(test, iommu_device_use_default_domain(&mdev->dev),
			-EACCES);
}

/* A device of a group refuses: the ones before it go with it */
static void test_boot_identity_attach_fails(struct kunit *test)
{
	struct mock_iommu *mock = create_translating(test);
	struct mock_device *mdev[4], *last;

	add_three_groups(test, mdev, true, true, true, true);
	last = wishing_device(test, 1, true);
	mock_device_add(test, last);
	mdev[2]->fail_identity_attach = true;
	mock_iommu_register(test, mock);
	expect_identity(test, mdev[0], "parameter\n");
	expect_translated(test, mdev[1], "fallback\n");
	expect_translated(test, mdev[2], "fallback\n");
	expect_translated(test, last, "fallback\n");
	KUNIT_EXPECT_PTR_EQ(test, mdev[1]->attached, mdev[2]->attached);
	KUNIT_EXPECT_PTR_EQ(test, mdev[1]->attached, last->attached);
	expect_identity(test, mdev[3], "parameter\n");
	/* The one after it was never moved to the domain to be given up */
	KUNIT_EXPECT_EQ(test, mdev[1]->attaches, 2);
	KUNIT_EXPECT_EQ(test, last->attaches, 1);
	/* And that domain is gone */
	KUNIT_EXPECT_EQ(test, mock->live_domains, 3);
}

static void test_hotplug(struct kunit *test)
{
	struct mock_iommu *mock = create_translating(test);
	struct mock_device *named = wishing_device(test, 0, true);
	struct mock_device *other = wishing_device(test, 1, false);
	struct mock_device *refused = wishing_device(test, 2, true);

	mock_iommu_register(test, mock);
	refused->fail_identity_attach = true;
	mock_device_add(test, other);
	mock_device_add(test, named);
	mock_device_add(test, refused);
	expect_translated(test, other, "default\n");
	expect_identity(test, named, "parameter\n");
	expect_translated(test, refused, "fallback\n");
}

/*
 * Neither the wish's domain nor the one instead of it can be had. The group is
 * blocked, and no driver can do DMA through it, but the next device to join
 * gives it a domain.
 */
static void test_hotplug_nothing_can_be_had(struct kunit *test)
{
	struct mock_iommu *mock = create_translating(test);
	struct mock_device *mdev = wishing_device(test, 0, true);
	struct mock_device *next = wishing_device(test, 0, true);

	mock_iommu_register(test, mock);
	mdev->fail_identity_attach = true;
	mock->fail_paging_allocs = 2;
	mock_device_add(test, mdev);
	KUNIT_ASSERT_NOT_NULL(test, mdev->attached);
	KUNIT_EXPECT_EQ(test, mdev->attached->type, IOMMU_DOMAIN_UNMANAGED);
	KUNIT_EXPECT_EQ(test, iommu_device_use_default_domain(&mdev->dev),
			-EACCES);
	mdev->fail_identity_attach = false;
	mock_device_add(test, next);
	expect_identity(test, mdev, "parameter\n");
	expect_identity(test, next, "parameter\n");
	KUNIT_EXPECT_EQ(test, iommu_device_use_default_domain(&mdev->dev), 0);
	iommu_device_unuse_default_domain(&mdev->dev);
}

/* The same at boot, where the next group is none the worse for it */
static void test_boot_nothing_can_be_had(struct kunit *test)
{
	struct mock_iommu *mock = create_translating(test);
	struct mock_device *good = wishing_device(test, 0, true);
	struct mock_device *bad = wishing_device(test, 1, true);
	struct mock_device *next = wishing_device(test, 1, false);

	mock_device_add(test, bad);
	mock_device_add(test, good);
	bad->fail_identity_attach = true;
	mock->fail_paging_allocs = 2;
	mock_iommu_register(test, mock);
	expect_identity(test, good, "parameter\n");
	KUNIT_ASSERT_NOT_NULL(test, bad->attached);
	KUNIT_EXPECT_EQ(test, bad->attached->type, IOMMU_DOMAIN_UNMANAGED);
	expect_file(test, bad, "type", "unknown\n");
	expect_file(test, bad, "type_source", "unknown\n");
	KUNIT_EXPECT_EQ(test, iommu_device_use_default_domain(&bad->dev),
			-EACCES);
	/* One identity domain and one that blocks; nothing is left over */
	KUNIT_EXPECT_EQ(test, mock->live_domains, 2);

	mock_device_add(test, next);
	expect_translated(test, bad, "default\n");
	expect_translated(test, next, "default\n");
}

static void test_auto_returns_to_the_wish(struct kunit *test)
{
	struct mock_iommu *mock = create_translating(test);
	struct mock_device *mdev = wishing_device(test, 0, true);

	mock_device_add(test, mdev);
	mock_iommu_register(test, mock);
	KUNIT_EXPECT_EQ(test, mock_group_write(mdev, "type", "DMA\n"), 4);
	expect_translated(test, mdev, "sysfs\n");
	expect_file(test, mdev, "type", "DMA\n");

	KUNIT_EXPECT_EQ(test, mock_group_write(mdev, "type", "auto"), 4);
	expect_identity(test, mdev, "parameter\n");
	KUNIT_EXPECT_FALSE(test, mdev->dev.dma_iommu);
	KUNIT_EXPECT_EQ(test, mock->live_domains, 1);
}

static void test_auto_falls_back(struct kunit *test)
{
	struct mock_iommu *mock = create_translating(test);
	struct mock_device *mdev = wishing_device(test, 0, true);

	mock_device_add(test, mdev);
	mock_iommu_register(test, mock);
	KUNIT_EXPECT_EQ(test, mock_group_write(mdev, "type", "DMA"), 3);
	mdev->fail_identity_attach = true;
	KUNIT_EXPECT_EQ(test, mock_group_write(mdev, "type", "auto"), 4);
	expect_translated(test, mdev, "fallback\n");
	KUNIT_EXPECT_EQ(test, mock->live_domains, 1);
}

/* Want of memory is no reason for another type when there is one already */
static void test_auto_keeps_without_memory(struct kunit *test)
{
	struct mock_iommu *mock = create_translating(test);
	struct mock_device *mdev = wishing_device(test, 0, true);
	struct iommu_domain *before;

	mock_device_add(test, mdev);
	mock_iommu_register(test, mock);
	KUNIT_EXPECT_EQ(test, mock_group_write(mdev, "type", "DMA"), 3);
	before = mdev->attached;
	mock->fail_identity_alloc = mock->identity_allocs + 1;
	KUNIT_EXPECT_EQ(test, mock_group_write(mdev, "type", "auto"), -ENOMEM);
	expect_translated(test, mdev, "sysfs\n");
	KUNIT_EXPECT_PTR_EQ(test, mdev->attached, before);
	KUNIT_EXPECT_EQ(test, mock->live_domains, 1);

	KUNIT_EXPECT_EQ(test, mock_group_write(mdev, "type", "auto"), 4);
	expect_identity(test, mdev, "parameter\n");
}

static void test_write_errors_change_nothing(struct kunit *test)
{
	struct mock_iommu *mock = create_translating(test);
	struct mock_device *mdev = wishing_device(test, 0, false);
	struct iommu_domain *before;

	mock_device_add(test, mdev);
	mock_iommu_register(test, mock);
	before = mdev->attached;

	KUNIT_EXPECT_EQ(test, mock_group_write(mdev, "type", "dma"),
			-EINVAL);
	mdev->fail_identity_attach = true;
	KUNIT_EXPECT_EQ(test, mock_group_write(mdev, "type", "identity"),
			-EINVAL);
	mdev->fail_identity_attach = false;
	mock->fail_identity_alloc = mock->identity_allocs + 1;
	KUNIT_EXPECT_EQ(test, mock_group_write(mdev, "type", "identity"),
			-ENOMEM);
	mdev->def_type = DMA;
	KUNIT_EXPECT_EQ(test, mock_group_write(mdev, "type", "identity"),
			-EINVAL);
	KUNIT_EXPECT_LT(test, mock_group_write(mdev, "type_source", "sysfs"),
			0);

	KUNIT_EXPECT_PTR_EQ(test, mdev->attached, before);
	expect_translated(test, mdev, "default\n");
	KUNIT_EXPECT_EQ(test, mock->live_domains, 1);
}

/* Writing what is there is not a choice, so it is not remembered as one */
static void test_same_type_keeps_source(struct kunit *test)
{
	struct mock_iommu *mock = create_translating(test);
	struct mock_device *mdev = wishing_device(test, 0, true);

	mock_device_add(test, mdev);
	mock_iommu_register(test, mock);
	KUNIT_EXPECT_EQ(test, mock_group_write(mdev, "type", "identity"),
			8);
	expect_identity(test, mdev, "parameter\n");
}

static void test_emptied_group_forgets(struct kunit *test)
{
	struct mock_iommu *mock = create_translating(test);
	struct mock_device *mdev = wishing_device(test, 0, false);
	struct mock_device *next = wishing_device(test, 0, false);
	struct iommu_group *group;

	mock_device_add(test, mdev);
	mock_iommu_register(test, mock);
	KUNIT_EXPECT_EQ(test, mock_group_write(mdev, "type", "identity"),
			8);
	expect_identity(test, mdev, "sysfs\n");

	/* The same group, kept alive by a reference */
	group = iommu_group_get(&mdev->dev);
	mock_device_remove(mdev);
	mock_device_add(test, next);
	KUNIT_EXPECT_PTR_EQ(test, next->dev.iommu_group, group);
	iommu_group_put(group);
	expect_translated(test, next, "default\n");
}

static void test_leaving_changes_nothing(struct kunit *test)
{
	struct mock_iommu *mock = create_translating(test);
	struct mock_device *mdev[4];

	add_three_groups(test, mdev, false, true, false, false);
	mock_iommu_register(test, mock);
	expect_translated(test, mdev[1], "default\n");
	mock_device_remove(mdev[2]);
	expect_translated(test, mdev[1], "default\n");
}

/*
 * A driver that requires translation, and leaves strict or lazy to the system:
 * its device gets what a device without requirements gets.
 */
static void test_lazy_driver_follows_default(struct kunit *test)
{
	struct mock_iommu *mock = create_translating(test);
	struct mock_device *plain = wishing_device(test, 0, false);
	struct mock_device *driver = wishing_device(test, 1, false);
	struct mock_device *named = wishing_device(test, 2, true);

	driver->def_type = DMA_FQ;
	named->def_type = DMA_FQ;
	mock_device_add(test, plain);
	mock_device_add(test, driver);
	mock_device_add(test, named);
	mock_iommu_register(test, mock);
	expect_translated(test, plain, "default\n");
	expect_translated(test, driver, "driver\n");
	expect_translated(test, named, "driver\n");
	KUNIT_EXPECT_EQ(test, driver->attached->type, plain->attached->type);
	KUNIT_EXPECT_EQ(test, named->attached->type, plain->attached->type);
	expect_said(test, named, 1,
		    "the IOMMU driver, or this kernel's configuration, requires another type");
	KUNIT_EXPECT_EQ(test, mock->identity_allocs, 0);
}

/* Both kinds of translation can be written, and nothing else */
static void test_lazy_driver_writes(struct kunit *test)
{
	struct mock_iommu *mock = create_translating(test);
	struct mock_device *mdev = wishing_device(test, 0, false);
	unsigned int type;

	mdev->def_type = DMA_FQ;
	mock_device_add(test, mdev);
	mock_iommu_register(test, mock);
	type = mdev->attached->type;
	KUNIT_EXPECT_EQ(test, mock_group_write(mdev, "type", "identity"),
			-EINVAL);
	expect_translated(test, mdev, "driver\n");
	KUNIT_EXPECT_EQ(test, mdev->attached->type, type);

	KUNIT_EXPECT_EQ(test, mock_group_write(mdev, "type", "DMA"), 3);
	expect_file(test, mdev, "type", "DMA\n");
	KUNIT_EXPECT_EQ(test, mock_group_write(mdev, "type", "DMA-FQ"), 6);
	expect_file(test, mdev, "type", "DMA-FQ\n");
	expect_translated(test, mdev, "sysfs\n");
	KUNIT_EXPECT_EQ(test, mock_group_write(mdev, "type", "identity"),
			-EINVAL);
	KUNIT_EXPECT_EQ(test, mock_group_write(mdev, "type", "auto"), 4);
	expect_translated(test, mdev, "driver\n");
	KUNIT_EXPECT_EQ(test, mdev->attached->type, type);
	KUNIT_EXPECT_EQ(test, mock->identity_allocs, 0);
	KUNIT_EXPECT_EQ(test, mock->live_domains, 1);
}

/* With a device that has to be strict the group is, whoever is asked first */
static void test_lazy_driver_mixed(struct kunit *test)
{
	static const struct {
		int first, second;
		bool untrusted;
		const char *source;
	} mixes[] = {
		{ DMA_FQ, DMA, false, "driver\n" },
		{ DMA, DMA_FQ, false, "driver\n" },
		{ DMA_FQ, 0, true, "untrusted\n" },
		{ DMA_FQ, DMA_FQ, true, "untrusted\n" },
	};
	struct mock_iommu *mock = create_translating(test);
	struct mock_device *first, *second;

	mock_iommu_register(test, mock);
	for (int i = 0; i < ARRAY_SIZE(mixes); i++) {
		first = wishing_device(test, i, false);
		second = wishing_device(test, i, false);
		first->def_type = mixes[i].first;
		second->def_type = mixes[i].second;
		second->untrusted = mixes[i].untrusted;
		mock_device_add(test, first);
		mock_device_add(test, second);
		expect_translated(test, second, mixes[i].source);
		expect_file(test, first, "type", "DMA\n");
		KUNIT_EXPECT_PTR_EQ(test, first->attached, second->attached);
		KUNIT_EXPECT_EQ(test,
				mock_group_write(first, "type", "DMA-FQ"),
				-EINVAL);
		KUNIT_EXPECT_EQ(test,
				mock_group_write(first, "type", "identity"),
				-EINVAL);
		expect_file(test, first, "type", "DMA\n");
	}
}

/* A device that has to be translated cannot join those who are not */
static void test_lazy_driver_joins(struct kunit *test)
{
	struct mock_iommu *mock = create_translating(test);
	struct mock_device *named = wishing_device(test, 0, true);
	struct mock_device *joiner = wishing_device(test, 0, true);

	joiner->def_type = DMA_FQ;
	mock_device_add(test, named);
	mock_iommu_register(test, mock);
	KUNIT_ASSERT_EQ(test, iommu_device_use_default_domain(&named->dev), 0);
	mock_device_add(test, joiner);
	expect_identity(test, named, "parameter\n");
	KUNIT_ASSERT_NOT_NULL(test, joiner->attached);
	KUNIT_EXPECT_EQ(test, joiner->attached->type, IOMMU_DOMAIN_UNMANAGED);
	KUNIT_EXPECT_EQ(test, iommu_device_use_default_domain(&joiner->dev),
			-EACCES);

	/* Without users the group becomes what the joiner requires */
	iommu_device_unuse_default_domain(&named->dev);
	KUNIT_EXPECT_EQ(test, mock_group_write(named, "type", "auto"), 4);
	expect_translated(test, named, "driver\n");
	KUNIT_EXPECT_PTR_EQ(test, joiner->attached, named->attached);
}

static struct kunit_case default_type_cases[] = {
	KUNIT_CASE_PARAM(test_rule, rule_gen_params),
	KUNIT_CASE(test_rule_translated_strict),
	KUNIT_CASE(test_request_bridge),
	KUNIT_CASE(test_request_bridge_protected),
	KUNIT_CASE(test_request_other_headers),
	KUNIT_CASE(test_request_prefers_parameter),
	KUNIT_CASE(test_request_crash_kernel),
	KUNIT_CASE(test_yield),
	KUNIT_CASE(test_yield_to_preference),
	KUNIT_CASE(test_requirement_does_not_yield),
	KUNIT_CASE_PARAM(test_reason, reason_gen_params),
	KUNIT_CASE(test_set_wish),
	KUNIT_CASE(test_boot_without_wishes),
	KUNIT_CASE(test_boot_wish_granted),
	KUNIT_CASE(test_boot_all_granted),
	KUNIT_CASE(test_boot_wish_not_shared),
	KUNIT_CASE(test_boot_wish_against_driver),
	KUNIT_CASE(test_boot_quirk),
	KUNIT_CASE(test_boot_identity_alloc_fails),
	KUNIT_CASE(test_log_is_quiet),
	KUNIT_CASE(test_boot_requirements_contradict),
	KUNIT_CASE(test_boot_untrusted_against_driver),
	KUNIT_CASE(test_boot_identity_attach_fails),
	KUNIT_CASE(test_hotplug),
	KUNIT_CASE(test_hotplug_nothing_can_be_had),
	KUNIT_CASE(test_boot_nothing_can_be_had),
	KUNIT_CASE(test_auto_returns_to_the_wish),
	KUNIT_CASE(test_auto_falls_back),
	KUNIT_CASE(test_auto_keeps_without_memory),
	KUNIT_CASE(test_write_errors_change_nothing),
	KUNIT_CASE(test_same_type_keeps_source),
	KUNIT_CASE(test_emptied_group_forgets),
	KUNIT_CASE(test_leaving_changes_nothing),
	KUNIT_CASE(test_lazy_driver_follows_default),
	KUNIT_CASE(test_lazy_driver_writes),
	KUNIT_CASE(test_lazy_driver_mixed),
	KUNIT_CASE(test_lazy_driver_joins),
	{}
};

static struct kunit_suite default_type_suite = {
	.name = "iommu_default_type",
	.test_cases = default_type_cases,
};

kunit_test_suite(default_type_suite);
