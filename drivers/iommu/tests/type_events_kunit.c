// SPDX-License-Identifier: GPL-2.0-only
/*
 * What becomes of a group's default domain type when something happens to the
 * group: every event against every source of the type, on real groups of the
 * mock driver. The same table, in words, is in
 * Documentation/admin-guide/iommu-default-type.rst.
 */
#include <kunit/test.h>
#include <linux/iommu.h>

#include "mock_iommu.h"

#define DMA		IOMMU_DOMAIN_DMA
#define IDENTITY	IOMMU_DOMAIN_IDENTITY

/* What a group, of one device, is like before the event */
enum start {
	UNTRUSTED,		/* translated, the device is not trusted */
	DRIVER_DMA,		/* translated, the IOMMU driver requires it */
	DRIVER_IDENTITY,	/* identity, the IOMMU driver requires it */
	PARAMETER,		/* identity by a wish */
	QUIRK,			/* the same, from kernel code */
	DEFAULT,		/* translated, as everybody */
	FALLBACK,		/* translated, the device refuses identity */
	SYSFS_IDENTITY,		/* identity, written */
	SYSFS_DMA,		/* translated, written */
	NR_STARTS
};

static const char * const start_names[NR_STARTS] = {
	"untrusted", "driver DMA", "driver identity", "parameter", "quirk",
	"default", "fallback", "sysfs identity", "sysfs DMA",
};

enum event {
	STAYS,			/* nothing: the start is what it says */
	WRITE_AUTO,
	WRITE_IDENTITY,
	WRITE_DMA,
	WRITE_DMA_FQ,
	JOIN_PLAIN,
	JOIN_UNTRUSTED,
	JOIN_DRIVER_DMA,
	JOIN_DRIVER_IDENTITY,
	JOIN_PASSTHROUGH,
	JOIN_TRANSLATED,
	JOIN_USED_PLAIN,	/* the same while a driver is bound */
	JOIN_USED_UNTRUSTED,
	JOIN_USED_DRIVER_DMA,
	JOIN_USED_DRIVER_IDENTITY,
	JOIN_USED_PASSTHROUGH,
	JOIN_USED_TRANSLATED,
	WRITE_USED,
	WRITE_USED_DMA,
	WRITE_USED_DMA_FQ,
	LEAVE,
	REMAKE,
	NR_EVENTS
};

static const char * const event_names[NR_EVENTS] = {
	"nothing", "auto is written", "identity is written", "DMA is written",
	"DMA-FQ is written", "plain device joins", "untrusted device joins",
	"device that must be translated joins",
	"device that must bypass joins", "device with a wish joins",
	"device to be translated joins",
	"in use, plain device joins", "in use, untrusted device joins",
	"in use, device that must be translated joins",
	"in use, device that must bypass joins",
	"in use, device with a wish joins",
	"in use, device to be translated joins",
	"in use, the other type is written", "in use, DMA is written",
	"in use, DMA-FQ is written",
	"device leaves", "group is emptied and made again",
};

/*
 * The expected result in four letters.
 * Type: I identity, D DMA, L DMA-FQ, F the system's default, which is lazy here.
 * Source: u untrusted, d driver, p parameter, q quirk, = default,
 *	f fallback, s sysfs.
 * What else: . nothing, E the write fails, R the joining device is refused.
 * Uevent: + one, with this type and source, - none.
 */
static const char cells[NR_EVENTS][NR_STARTS][5] = {
	/*	  U       DD      DI      P       Q
	 *	  def     f       sI      sD
	 */
	[STAYS] = {
		"Du.-", "Dd.-", "Id.-", "Ip.-", "Iq.-",
		"F=.-", "Ff.-", "Is.-", "Ds.-",
	},
	[WRITE_AUTO] = {
		"Du.-", "Dd.-", "Id.-", "Ip.-", "Iq.-",
		"F=.-", "Ff.-", "F=.+", "F=.+",
	},
	[WRITE_IDENTITY] = {
		"DuE-", "DdE-", "Id.-", "Ip.-", "Iq.-",
		"Is.+", "FfE-", "Is.-", "Is.+",
	},
	[WRITE_DMA] = {
		"Du.-", "Dd.-", "IdE-", "Ds.+", "Ds.+",
		"Ds.+", "Ds.+", "Ds.+", "Ds.-",
	},
	[WRITE_DMA_FQ] = {
		"DuE-", "DdE-", "IdE-", "Ls.+", "Ls.+",
		"F=.-", "Ff.-", "Ls.+", "Ls.+",
	},
	[JOIN_PLAIN] = {
		"Du.-", "Dd.-", "Id.-", "F=.+", "F=.+",
		"F=.-", "F=.+", "Is.-", "Ds.-",
	},
	[JOIN_UNTRUSTED] = {
		"Du.-", "Du.+", "IdR-", "Du.+", "Du.+",
		"Du.+", "Du.+", "Du.+", "Du.+",
	},
	[JOIN_DRIVER_DMA] = {
		"Du.-", "Dd.-", "IdR-", "Dd.+", "Dd.+",
		"Dd.+", "Dd.+", "IsR-", "Ds.-",
	},
	/* A driver that requires both gets identity, with an error, as at boot */
	[JOIN_DRIVER_IDENTITY] = {
		"Du.-", "Dd.-", "Id.-", "Id.+", "Id.+",
		"Id.+", "Ff.-", "Is.-", "Ds.-",
	},
	[JOIN_PASSTHROUGH] = {
		"Du.-", "Dd.-", "Id.-", "Ip.-", "Ip.+",
		"F=.-", "Ff.-", "Is.-", "Ds.-",
	},
	[JOIN_TRANSLATED] = {
		"Du.-", "Dd.-", "Id.-", "Fp.+", "Fp.+",
		"Fp.+", "Fp.+", "Is.-", "Ds.-",
	},
	[JOIN_USED_PLAIN] = {
		"Du.-", "Dd.-", "Id.-", "Ip.-", "Iq.-",
		"F=.-", "Ff.-", "Is.-", "Ds.-",
	},
	[JOIN_USED_UNTRUSTED] = {
		"Du.-", "Dd.-", "IdR-", "IpR-", "IqR-",
		"F=.-", "Ff.-", "IsR-", "Ds.-",
	},
	[JOIN_USED_DRIVER_DMA] = {
		"Du.-", "Dd.-", "IdR-", "IpR-", "IqR-",
		"F=.-", "Ff.-", "IsR-", "Ds.-",
	},
	[JOIN_USED_DRIVER_IDENTITY] = {
		"Du.-", "Dd.-", "Id.-", "Ip.-", "Iq.-",
		"F=.-", "Ff.-", "Is.-", "Ds.-",
	},
	[JOIN_USED_PASSTHROUGH] = {
		"Du.-", "Dd.-", "Id.-", "Ip.-", "Iq.-",
		"F=.-", "Ff.-", "Is.-", "Ds.-",
	},
	[JOIN_USED_TRANSLATED] = {
		"Du.-", "Dd.-", "Id.-", "Ip.-", "Iq.-",
		"F=.-", "Ff.-", "Is.-", "Ds.-",
	},
	[WRITE_USED] = {
		"DuE-", "DdE-", "IdE-", "IpE-", "IqE-",
		"F=E-", "FfE-", "IsE-", "DsE-",
	},
	[WRITE_USED_DMA] = {
		"Du.-", "Dd.-", "IdE-", "IpE-", "IqE-",
		"Ds.+", "Ds.+", "IsE-", "Ds.-",
	},
	[WRITE_USED_DMA_FQ] = {
		"DuE-", "DdE-", "IdE-", "IpE-", "IqE-",
		"F=.-", "Ff.-", "IsE-", "Ls.+",
	},
	[LEAVE] = {
		"Du.-", "Dd.-", "Id.-", "Ip.-", "Iq.-",
		"F=.-", "Ff.-", "Is.-", "Ds.-",
	},
	[REMAKE] = {
		"Du.-", "Dd.-", "Id.-", "Ip.-", "Iq.-",
		"F=.-", "Ff.-", "F=.-", "F=.-",
	},
};

static void cell_name(const unsigned int *cell, char *desc)
{
	snprintf(desc, KUNIT_PARAM_DESC_SIZE, "%s, %s",
		 start_names[*cell % NR_STARTS], event_names[*cell / NR_STARTS]);
}

static const void *cell_gen_params(const void *prev, char *desc)
{
	static unsigned int cell;

	cell = prev ? cell + 1 : 0;
	if (cell == NR_EVENTS * NR_STARTS)
		return NULL;
	cell_name(&cell, desc);
	return &cell;
}

/* The table is about a machine whose devices are translated, and lazily */
static struct mock_iommu *create_lazy(struct kunit *test)
{
	if (!IS_ENABLED(CONFIG_IOMMU_DEFAULT_DMA_LAZY))
		kunit_skip(test, "the system's default is not DMA-FQ");
	return mock_iommu_create(test);
}

static struct mock_device *starting_device(struct kunit *test,
					   enum start start)
{
	struct mock_device *mdev = mock_device_alloc(test, 0);

	switch (start) {
	case UNTRUSTED:
		mdev->untrusted = true;
		break;
	case DRIVER_DMA:
		mdev->def_type = DMA;
		break;
	case DRIVER_IDENTITY:
		mdev->def_type = IDENTITY;
		break;
	case FALLBACK:
		mdev->fail_identity_attach = true;
		fallthrough;
	case PARAMETER:
		mdev->dev.iommu_wish_parameter = true;
		fallthrough;
	case QUIRK:
		mdev->dev.iommu_passthrough = true;
		break;
	default:
		break;
	}
	return mdev;
}

static struct mock_device *joining_device(struct kunit *test, enum event event)
{
	struct mock_device *mdev = mock_device_alloc(test, 0);

	switch (event) {
	case JOIN_UNTRUSTED:
	case JOIN_USED_UNTRUSTED:
		mdev->untrusted = true;
		break;
	case JOIN_DRIVER_DMA:
	case JOIN_USED_DRIVER_DMA:
		mdev->def_type = DMA;
		break;
	case JOIN_DRIVER_IDENTITY:
	case JOIN_USED_DRIVER_IDENTITY:
		mdev->def_type = IDENTITY;
		break;
	case JOIN_PASSTHROUGH:
	case JOIN_USED_PASSTHROUGH:
		mdev->dev.iommu_wish_parameter = true;
		mdev->dev.iommu_passthrough = true;
		break;
	case JOIN_TRANSLATED:
	case JOIN_USED_TRANSLATED:
		mdev->dev.iommu_wish_parameter = true;
		mdev->dev.iommu_translated = true;
		break;
	default:
		break;
	}
	return mdev;
}

static void start_group(struct kunit *test, struct mock_device *mdev,
			enum start start)
{
	mock_device_add(test, mdev);
	if (start == SYSFS_IDENTITY)
		KUNIT_ASSERT_GT(test,
				mock_group_write(mdev, "type", "identity"), 0);
	if (start == SYSFS_DMA)
		KUNIT_ASSERT_GT(test, mock_group_write(mdev, "type", "DMA"), 0);
}

static void use(struct kunit *test, struct mock_device *mdev)
{
	KUNIT_ASSERT_EQ(test, iommu_device_use_default_domain(&mdev->dev), 0);
}

static void expect_write(struct kunit *test, struct mock_device *mdev,
			 const char *type, char outcome)
{
	int ret = mock_group_write(mdev, "type", type);

	if (outcome == 'E')
		KUNIT_EXPECT_LT(test, ret, 0);
	else
		KUNIT_EXPECT_EQ(test, ret, strlen(type));
}

/* Domains must not be used by a device that was refused, nor left unused */
static void expect_member(struct kunit *test, struct mock_device *mdev,
			  struct mock_device *joined, char outcome)
{
	KUNIT_ASSERT_PTR_EQ(test, joined->dev.iommu_group,
			    mdev->dev.iommu_group);
	KUNIT_ASSERT_NOT_NULL(test, joined->attached);
	if (outcome == 'R') {
		KUNIT_EXPECT_PTR_NE(test, joined->attached, mdev->attached);
		KUNIT_EXPECT_EQ(test, joined->attached->type,
				IOMMU_DOMAIN_UNMANAGED);
		KUNIT_EXPECT_EQ(test,
				iommu_device_use_default_domain(&joined->dev),
				-EACCES);
	} else {
		KUNIT_EXPECT_PTR_EQ(test, joined->attached, mdev->attached);
		KUNIT_EXPECT_TRUE(test, joined->dev.dma_iommu ==
				  iommu_is_dma_domain(mdev->attached));
	}
}

static void expect_group(struct kunit *test, struct mock_device *mdev,
			 const char *cell)
{
	static const char * const sources[] = {
		"untrusted", "driver", "parameter", "quirk", "=default",
		"fallback", "sysfs",
	};
	const char *source = NULL;
	char buf[32] = "";

	KUNIT_ASSERT_NOT_NULL(test, mdev->attached);
	switch (cell[0]) {
	case 'I':
		KUNIT_EXPECT_EQ(test, mdev->attached->type, IDENTITY);
		break;
	case 'D':
		KUNIT_EXPECT_EQ(test, mdev->attached->type, DMA);
		break;
	default:
		KUNIT_EXPECT_EQ(test, mdev->attached->type,
				IOMMU_DOMAIN_DMA_FQ);
	}
	KUNIT_EXPECT_TRUE(test, mdev->dev.dma_iommu == (cell[0] != 'I'));

	for (int i = 0; i < ARRAY_SIZE(sources); i++)
		if (sources[i][0] == cell[1])
			source = sources[i] + (cell[1] == '=');
	KUNIT_ASSERT_NOT_NULL(test, source);
	mock_group_read(mdev, "type_source", buf, sizeof(buf));
	KUNIT_EXPECT_STREQ(test, strim(buf), source);
}

/* What the group's files say now is what was announced, if anything was */
static void expect_event(struct kunit *test, struct mock_device *mdev,
			 const struct mock_uevents *events, char sent)
{
	const struct mock_uevent *event = &events->events[0];
	char buf[32] = "";

	KUNIT_EXPECT_EQ(test, events->count, sent == '+');
	if (!events->count)
		return;
	KUNIT_EXPECT_EQ(test, events->last_group,
			iommu_group_id(mdev->dev.iommu_group));
	KUNIT_EXPECT_STREQ(test, event->action, "change");
	mock_group_read(mdev, "type", buf, sizeof(buf));
	KUNIT_EXPECT_STREQ(test, event->type, strim(buf));
	mock_group_read(mdev, "type_source", buf, sizeof(buf));
	KUNIT_EXPECT_STREQ(test, event->source, strim(buf));
}

static void test_cell(struct kunit *test)
{
	unsigned int number = *(const unsigned int *)test->param_value;
	enum start start = number % NR_STARTS;
	enum event event = number / NR_STARTS;
	const char *cell = cells[event][start];
	struct mock_device *mdev, *other;
	struct mock_uevents *events;
	struct iommu_group *group;
	struct mock_iommu *mock;
	bool in_use = false;

	mock = create_lazy(test);
	mock_iommu_register(test, mock);
	mdev = starting_device(test, start);
	events = mock_listen(test);
	start_group(test, mdev, start);
	/* The group's first domain is not announced, the change to another is */
	KUNIT_EXPECT_EQ(test, events->count,
			start == SYSFS_IDENTITY || start == SYSFS_DMA);
	events->count = 0;
	other = joining_device(test, event);

	switch (event) {
	case STAYS:
		break;
	case WRITE_AUTO:
		expect_write(test, mdev, "auto", cell[2]);
		break;
	case WRITE_IDENTITY:
		expect_write(test, mdev, "identity", cell[2]);
		break;
	case WRITE_DMA:
		expect_write(test, mdev, "DMA", cell[2]);
		break;
	case WRITE_DMA_FQ:
		expect_write(test, mdev, "DMA-FQ", cell[2]);
		break;
	case WRITE_USED:
		use(test, mdev);
		in_use = true;
		expect_write(test, mdev, cell[0] == 'I' ? "DMA" : "identity",
			     cell[2]);
		break;
	case WRITE_USED_DMA:
		use(test, mdev);
		in_use = true;
		expect_write(test, mdev, "DMA", cell[2]);
		break;
	case WRITE_USED_DMA_FQ:
		use(test, mdev);
		in_use = true;
		expect_write(test, mdev, "DMA-FQ", cell[2]);
		break;
	case JOIN_USED_PLAIN ... JOIN_USED_TRANSLATED:
		use(test, mdev);
		in_use = true;
		fallthrough;
	case JOIN_PLAIN ... JOIN_TRANSLATED:
		mock_device_add(test, other);
		expect_member(test, mdev, other, cell[2]);
		break;
	case LEAVE:
		use(test, mdev);
		mock_device_add(test, other);
		iommu_device_unuse_default_domain(&mdev->dev);
		mock_device_remove(other);
		break;
	case REMAKE:
		group = iommu_group_get(&mdev->dev);
		mock_device_remove(mdev);
		mdev = starting_device(test, start);
		mock_device_add(test, mdev);
		KUNIT_EXPECT_PTR_EQ(test, mdev->dev.iommu_group, group);
		iommu_group_put(group);
		break;
	default:
		KUNIT_FAIL(test, "the event has no action");
	}

	expect_group(test, mdev, cell);
	expect_event(test, mdev, events, cell[3]);
	if (in_use)
		iommu_device_unuse_default_domain(&mdev->dev);
}

/* A refused device is let in when the group gets a translated domain */
static void test_refused_is_admitted(struct kunit *test)
{
	struct mock_device *mdev, *refused;
	struct mock_iommu *mock;

	mock = create_lazy(test);
	mock_iommu_register(test, mock);
	mdev = starting_device(test, PARAMETER);
	refused = joining_device(test, JOIN_USED_UNTRUSTED);
	mock_device_add(test, mdev);
	use(test, mdev);
	mock_device_add(test, refused);
	expect_member(test, mdev, refused, 'R');

	/* Its group's user may switch domains: that is not for this device */
	iommu_device_unuse_default_domain(&mdev->dev);
	KUNIT_ASSERT_EQ(test, iommu_device_claim_dma_owner(&mdev->dev, test), 0);
	KUNIT_EXPECT_EQ(test, refused->attached->type, IOMMU_DOMAIN_UNMANAGED);
	iommu_device_release_dma_owner(&mdev->dev);
	KUNIT_EXPECT_EQ(test, mdev->attached->type, IDENTITY);
	expect_member(test, mdev, refused, 'R');

	/* Identity cannot be asked for again with it in the group */
	KUNIT_EXPECT_EQ(test, mock_group_write(mdev, "type", "identity"),
			-EINVAL);
	KUNIT_EXPECT_EQ(test, mock_group_write(mdev, "type", "auto"), 4);
	expect_group(test, mdev, "Du.");
	expect_member(test, mdev, refused, '.');
	KUNIT_EXPECT_EQ(test, iommu_device_use_default_domain(&refused->dev),
			0);
	iommu_device_unuse_default_domain(&refused->dev);
}

/* A device that is refused leaves without a trace */
static void test_refused_leaves(struct kunit *test)
{
	struct mock_device *mdev, *refused;
	struct mock_iommu *mock;

	mock = create_lazy(test);
	mock_iommu_register(test, mock);
	mdev = starting_device(test, PARAMETER);
	refused = joining_device(test, JOIN_USED_DRIVER_DMA);
	mock_device_add(test, mdev);
	use(test, mdev);
	mock_device_add(test, refused);
	expect_member(test, mdev, refused, 'R');
	mock_device_remove(refused);
	expect_group(test, mdev, "Ip.");
	iommu_device_unuse_default_domain(&mdev->dev);
}

/* User space has the group: a trusted device joins what it has */
static void test_joins_owned_group(struct kunit *test)
{
	struct mock_device *mdev, *plain, *refused;
	struct mock_iommu *mock;

	mock = create_lazy(test);
	mock_iommu_register(test, mock);
	mdev = starting_device(test, PARAMETER);
	plain = joining_device(test, JOIN_USED_PLAIN);
	refused = joining_device(test, JOIN_USED_UNTRUSTED);
	mock_device_add(test, mdev);
	KUNIT_ASSERT_EQ(test, iommu_device_claim_dma_owner(&mdev->dev, test), 0);

	mock_device_add(test, plain);
	KUNIT_EXPECT_PTR_EQ(test, plain->attached, mdev->attached);
	KUNIT_EXPECT_EQ(test, plain->attached->type, IOMMU_DOMAIN_UNMANAGED);
	mock_device_add(test, refused);
	KUNIT_EXPECT_EQ(test, mock_group_write(mdev, "type", "auto"), -EPERM);

	iommu_device_release_dma_owner(&mdev->dev);
	expect_group(test, mdev, "Ip.");
	expect_member(test, mdev, plain, '.');
	expect_member(test, mdev, refused, 'R');
}

/* A device that must be translated never sees the group's identity domain */
static void test_refused_when_change_fails(struct kunit *test)
{
	struct mock_device *mdev, *refused;
	struct mock_iommu *mock;

	mock = create_lazy(test);
	mock_iommu_register(test, mock);
	mdev = starting_device(test, PARAMETER);
	refused = joining_device(test, JOIN_UNTRUSTED);
	mock_device_add(test, mdev);
	mdev->fail_paging_attach = true;
	mock_device_add(test, refused);
	expect_group(test, mdev, "Ip.");
	expect_member(test, mdev, refused, 'R');
	KUNIT_EXPECT_EQ(test, refused->identity_attaches, 0);
}

/* The same when it is the joining device that cannot be attached */
static void test_refused_when_admission_fails(struct kunit *test)
{
	struct mock_device *mdev, *refused;
	struct mock_iommu *mock;

	mock = create_lazy(test);
	mock_iommu_register(test, mock);
	mdev = starting_device(test, PARAMETER);
	refused = joining_device(test, JOIN_UNTRUSTED);
	mock_device_add(test, mdev);
	refused->fail_paging_attach = true;
	mock_device_add(test, refused);
	expect_group(test, mdev, "Du.");
	KUNIT_EXPECT_EQ(test, refused->identity_attaches, 0);
	KUNIT_EXPECT_EQ(test, iommu_device_use_default_domain(&refused->dev),
			-EACCES);
}

/* A wish that all devices share ends with one that cannot be attached */
static void test_wish_ends_with_joiner(struct kunit *test)
{
	struct mock_device *mdev, *joiner;
	struct mock_iommu *mock;

	mock = create_lazy(test);
	mock_iommu_register(test, mock);
	mdev = starting_device(test, PARAMETER);
	joiner = starting_device(test, FALLBACK);
	mock_device_add(test, mdev);
	expect_group(test, mdev, "Ip.");
	mock_device_add(test, joiner);
	expect_group(test, mdev, "Ff.");
	expect_member(test, mdev, joiner, '.');
	KUNIT_EXPECT_EQ(test, mock->live_domains, 1);
}

/* User space cannot own what it could not use */
static void test_refused_is_not_owned(struct kunit *test)
{
	struct mock_device *mdev, *refused;
	struct iommu_group *group;
	struct mock_iommu *mock;

	mock = create_lazy(test);
	mock_iommu_register(test, mock);
	mdev = starting_device(test, PARAMETER);
	refused = joining_device(test, JOIN_USED_UNTRUSTED);
	mock_device_add(test, mdev);
	use(test, mdev);
	mock_device_add(test, refused);
	iommu_device_unuse_default_domain(&mdev->dev);

	KUNIT_EXPECT_EQ(test, iommu_device_claim_dma_owner(&refused->dev, test),
			-EACCES);
	group = iommu_group_get(&mdev->dev);
	KUNIT_EXPECT_EQ(test, iommu_group_claim_dma_owner(group, test),
			-EACCES);
	mock_device_remove(mdev);
	KUNIT_EXPECT_EQ(test,
			iommu_attach_device(refused->attached, &refused->dev),
			-EACCES);
	iommu_group_put(group);
}

/* What a driver prefers gives way to a wish for translation only */
static void test_preference(struct kunit *test)
{
	struct mock_device *prefers, *wishes, *both;
	struct mock_iommu *mock;

	mock = create_lazy(test);
	prefers = mock_device_alloc(test, 0);
	prefers->prefers_identity = true;
	wishes = mock_device_alloc(test, 1);
	wishes->dev.iommu_translated = true;
	wishes->dev.iommu_wish_parameter = true;
	both = mock_device_alloc(test, 1);
	both->prefers_identity = true;
	mock_device_add(test, prefers);
	mock_device_add(test, wishes);
	mock_device_add(test, both);
	mock_iommu_register(test, mock);

	expect_group(test, prefers, "Id.");
	expect_group(test, wishes, "Fp.");
	/* It is no requirement, so it does not stand against a write */
	KUNIT_EXPECT_EQ(test, mock_group_write(prefers, "type", "DMA"), 3);
	expect_group(test, prefers, "Ds.");
}

static struct kunit_case type_events_cases[] = {
	KUNIT_CASE_PARAM(test_cell, cell_gen_params),
	KUNIT_CASE(test_refused_is_admitted),
	KUNIT_CASE(test_refused_leaves),
	KUNIT_CASE(test_joins_owned_group),
	KUNIT_CASE(test_refused_when_change_fails),
	KUNIT_CASE(test_refused_when_admission_fails),
	KUNIT_CASE(test_wish_ends_with_joiner),
	KUNIT_CASE(test_refused_is_not_owned),
	KUNIT_CASE(test_preference),
	{}
};

static struct kunit_suite type_events_suite = {
	.name = "iommu_type_events",
	.test_cases = type_events_cases,
};

kunit_test_suite(type_events_suite);
