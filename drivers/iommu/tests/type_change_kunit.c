// SPDX-License-Identifier: GPL-2.0-only
/*
 * Changing the type of a group while the system runs: a write ends with an
 * error and nothing changed, or with everything right, on every device; nobody
 * who uses the group loses its domain; lazy flushing goes on and off under
 * DMA. On real groups of the mock driver, whose domains here have a page table
 * of one flag per page, and a TLB that remembers what was unmapped.
 */
#include <kunit/static_stub.h>
#include <kunit/test.h>
#include <linux/device/driver.h>
#include <linux/dma-direct.h>
#include <linux/dma-mapping.h>
#include <linux/iommu.h>
#include <linux/sizes.h>
#include <trace/events/iommu.h>

#include "../dma-iommu.h"
#include "../iommu-priv.h"
#include "mock_iommu.h"

#define DMA		IOMMU_DOMAIN_DMA
#define DMA_FQ		IOMMU_DOMAIN_DMA_FQ
#define IDENTITY	IOMMU_DOMAIN_IDENTITY

#define NR_DEVICES	3
#define LAST		(NR_DEVICES - 1)

/* Pages that a domain can translate, if a test wants no others */
#define NR_PAGES	256
#define MAX_PAGES	1024
/* What a device may reserve: the addresses that are given out first */
#define RESERVED	((NR_PAGES - 16) * SZ_4K)

/**
 * struct world - the group, its hardware, and what was seen
 * @mock: the IOMMU
 * @mdev: the devices of the group
 * @page: memory to map
 * @pages: so many pages can be mapped; there is no page 0
 * @mapped: pages that the page table translates
 * @cached: pages that the TLB still translates; the flush queue's timer may
 *	clear it at any time
 * @map_error: mapping fails with this error, if not 0
 * @reserving: the device that has a reserved region, or NULL
 * @reserved: the type of that region
 * @in_unmap: called once in an unmap, before the page table is updated
 * @events: uevents of the group
 * @attempts: attempts that were traced
 * @requested: what the last of them was
 * @old: the type before it
 * @new: the type after it
 * @source: the source after it
 * @result: its result
 * @holder: who was in the way of a change, says the log
 * @how: and how; NULL when it said nothing
 */
static struct world {
	struct mock_iommu *mock;
	struct mock_device *mdev[NR_DEVICES];
	struct page *page;
	unsigned int pages;
	bool mapped[MAX_PAGES];
	bool cached[MAX_PAGES];
	int map_error;
	struct device *reserving;
	enum iommu_resv_type reserved;
	void (*in_unmap)(struct kunit *test);
	struct mock_uevents *events;
	int attempts;
	char requested[16];
	char old[16];
	char new[16];
	char source[16];
	int result;
	struct device *holder;
	const char *how;
} world;

/* The IOMMU driver */

static int cached_pages(void)
{
	int count = 0;

	for (int i = 0; i < MAX_PAGES; i++)
		count += READ_ONCE(world.cached[i]);
	return count;
}

static void flush_tlb(void)
{
	for (int i = 0; i < MAX_PAGES; i++)
		WRITE_ONCE(world.cached[i], false);
}

static void flush_all(struct iommu_domain *domain)
{
	flush_tlb();
}

static void sync_gathered(struct iommu_domain *domain,
			  struct iommu_iotlb_gather *gather)
{
	flush_tlb();
}

static int map_pages(struct iommu_domain *domain, unsigned long iova,
		     phys_addr_t paddr, size_t pgsize, size_t pgcount,
		     int prot, gfp_t gfp, size_t *mapped)
{
	unsigned long first = iova / SZ_4K;

	if (world.map_error)
		return world.map_error;
	if (first + pgcount > world.pages)
		return -ERANGE;
	for (size_t i = 0; i < pgcount; i++) {
		/* An address that is given out must be free in every sense */
		if (world.mapped[first + i] || world.cached[first + i])
			return -EADDRINUSE;
		world.mapped[first + i] = true;
	}
	*mapped = pgcount * pgsize;
	return 0;
}

static size_t unmap_pages(struct iommu_domain *domain, unsigned long iova,
			  size_t pgsize, size_t pgcount,
			  struct iommu_iotlb_gather *gather)
{
	unsigned long first = iova / SZ_4K;
	void (*hook)(struct kunit *test) = world.in_unmap;

	if (hook) {
		world.in_unmap = NULL;
		hook(world.mock->test);
	}
	for (size_t i = 0; i < pgcount; i++) {
		world.mapped[first + i] = false;
		world.cached[first + i] = true;
	}
	return pgcount * pgsize;
}

static phys_addr_t iova_to_phys(struct iommu_domain *domain, dma_addr_t iova)
{
	return world.mapped[iova / SZ_4K] ? iova : 0;
}

static int attach_dev(struct iommu_domain *domain, struct device *dev)
{
	return mock_domain_ops.attach_dev(domain, dev);
}

static void domain_free(struct iommu_domain *domain)
{
	mock_domain_ops.free(domain);
}

static const struct iommu_domain_ops domain_ops = {
	.attach_dev = attach_dev,
	.map_pages = map_pages,
	.unmap_pages = unmap_pages,
	.iova_to_phys = iova_to_phys,
	.flush_iotlb_all = flush_all,
	.iotlb_sync = sync_gathered,
	.free = domain_free,
};

static struct iommu_domain *small_domain(struct device *dev)
{
	struct iommu_domain *domain;

	if (world.mock->fail_paging_allocs) {
		world.mock->fail_paging_allocs--;
		return ERR_PTR(-ENOMEM);
	}
	domain = mock_domain_create(dev);
	if (IS_ERR(domain))
		return domain;
	domain->geometry.aperture_end = world.pages * SZ_4K - 1;
	/* There is only one at a time that translates */
	memset(world.mapped, 0, sizeof(world.mapped));
	flush_tlb();
	return domain;
}

static void resv_regions(struct device *dev, struct list_head *regions)
{
	struct iommu_resv_region *region;

	if (dev != world.reserving)
		return;
	region = iommu_alloc_resv_region(RESERVED, SZ_4K * 16, IOMMU_READ,
					 world.reserved,
					 GFP_KERNEL | __GFP_NOFAIL);
	list_add_tail(&region->list, regions);
}

static void free_page_of(void *page)
{
	__free_page(page);
}

static void note_attempt(void *data, int group_id, const char *requested,
			 const char *old, const char *new, const char *source,
			 int result)
{
	world.attempts++;
	strscpy(world.requested, requested);
	strscpy(world.old, old);
	strscpy(world.new, new);
	strscpy(world.source, source);
	world.result = result;
}

static void stop_tracing(void *data)
{
	unregister_trace_iommu_group_type(note_attempt, NULL);
	tracepoint_synchronize_unregister();
}

static void note_holder(int group_id, const struct iommu_group_holder *holder)
{
	world.holder = holder->dev;
	world.how = holder->how;
}

static struct mock_device *new_device(struct kunit *test)
{
	struct mock_device *mdev = mock_device_alloc(test, 0);

	mdev->dev.dma_mask = &mdev->dev.coherent_dma_mask;
	mdev->dev.coherent_dma_mask = DMA_BIT_MASK(32);
	return mdev;
}

static void create_devices(struct kunit *test)
{
	if (!IS_ENABLED(CONFIG_IOMMU_DEFAULT_DMA_LAZY))
		kunit_skip(test, "the system's default is not DMA-FQ");
	world = (struct world) { .pages = NR_PAGES };
	world.mock = mock_iommu_create(test);
	world.mock->ops.domain_alloc_paging = small_domain;
	world.mock->ops.get_resv_regions = resv_regions;
	world.mock->ops.default_domain_ops = &domain_ops;
	kunit_activate_static_stub(test, iommu_report_holder, note_holder);

	world.page = alloc_page(GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, world.page);
	KUNIT_ASSERT_EQ(test,
			kunit_add_action_or_reset(test, free_page_of,
						  world.page), 0);
	for (int i = 0; i < NR_DEVICES; i++)
		world.mdev[i] = new_device(test);
}

/* A group of three devices, as at boot */
static void register_devices(struct kunit *test)
{
	for (int i = 0; i < NR_DEVICES; i++)
		mock_device_add(test, world.mdev[i]);
	mock_iommu_register(test, world.mock);
	world.events = mock_listen(test);
	if (!IS_ENABLED(CONFIG_TRACEPOINTS))
		return;
	KUNIT_ASSERT_EQ(test,
			register_trace_iommu_group_type(note_attempt, NULL), 0);
	KUNIT_ASSERT_EQ(test,
			kunit_add_action_or_reset(test, stop_tracing, NULL), 0);
}

static void create_group(struct kunit *test)
{
	create_devices(test);
	register_devices(test);
}

static int write_type(const char *type)
{
	return mock_group_write(world.mdev[0], "type", type);
}

static void change_type(struct kunit *test, const char *type)
{
	KUNIT_ASSERT_EQ(test, write_type(type), strlen(type));
}

static void forget_events(void)
{
	world.events->count = 0;
	world.attempts = 0;
	world.how = NULL;
}

static void expect_traced(struct kunit *test, const char *requested,
			  const char *old, const char *new, int result)
{
	if (!IS_ENABLED(CONFIG_TRACEPOINTS))
		return;
	KUNIT_EXPECT_EQ(test, world.attempts, 1);
	KUNIT_EXPECT_STREQ(test, world.requested, requested);
	KUNIT_EXPECT_STREQ(test, world.old, old);
	KUNIT_EXPECT_STREQ(test, world.new, new);
	KUNIT_EXPECT_EQ(test, world.result, result);
}

/* What there is to be seen of a group and its devices */
struct state {
	char type[16];
	char source[16];
	struct iommu_domain *attached[NR_DEVICES];
	unsigned int attaches[NR_DEVICES];
	bool dma_iommu[NR_DEVICES];
	int live_domains;
};

static struct state look(void)
{
	struct state state = {};

	mock_group_read(world.mdev[0], "type", state.type, sizeof(state.type));
	mock_group_read(world.mdev[0], "type_source", state.source,
			sizeof(state.source));
	strim(state.type);
	strim(state.source);
	for (int i = 0; i < NR_DEVICES; i++) {
		state.attached[i] = world.mdev[i]->attached;
		state.attaches[i] = world.mdev[i]->attaches;
		state.dma_iommu[i] = world.mdev[i]->dev.dma_iommu;
	}
	state.live_domains = world.mock->live_domains;
	return state;
}

static void expect_same(struct kunit *test, const struct state *before)
{
	struct state now = look();

	KUNIT_EXPECT_STREQ(test, now.type, before->type);
	KUNIT_EXPECT_STREQ(test, now.source, before->source);
	for (int i = 0; i < NR_DEVICES; i++) {
		KUNIT_EXPECT_PTR_EQ(test, now.attached[i],
				    before->attached[i]);
		KUNIT_EXPECT_EQ(test, now.dma_iommu[i], before->dma_iommu[i]);
	}
	KUNIT_EXPECT_EQ(test, now.live_domains, before->live_domains);
	KUNIT_EXPECT_EQ(test, world.events->count, 0);
}

static void expect_type(struct kunit *test, const char *type,
			unsigned int number)
{
	struct state now = look();

	KUNIT_EXPECT_STREQ(test, now.type, type);
	for (int i = 0; i < NR_DEVICES; i++) {
		KUNIT_EXPECT_PTR_EQ(test, now.attached[i], now.attached[0]);
		KUNIT_EXPECT_EQ(test, now.dma_iommu[i], number != IDENTITY);
	}
	KUNIT_EXPECT_EQ(test, now.attached[0]->type, number);
	KUNIT_EXPECT_EQ(test, now.live_domains, 1);
}

/* DMA by a device */

static dma_addr_t map(struct kunit *test, struct mock_device *mdev)
{
	dma_addr_t addr = dma_map_page(&mdev->dev, world.page, 0, SZ_4K,
				       DMA_TO_DEVICE);

	KUNIT_ASSERT_FALSE(test, dma_mapping_error(&mdev->dev, addr));
	return addr;
}

static void unmap(struct mock_device *mdev, dma_addr_t addr)
{
	dma_unmap_page(&mdev->dev, addr, SZ_4K, DMA_TO_DEVICE);
}

/* A change that fails */

enum breaks {
	DOMAIN,			/* there is no domain of the type */
	QUEUE,			/* there is no flush queue */
	ADDRESSES,		/* the device has no address in the domain */
	MAP_MEMORY,		/* no memory for what firmware wants mapped */
	MAP_EVER,		/* it cannot be mapped, attached or not */
	ATTACH,			/* the device cannot be attached */
};

static const struct failure {
	const char *name;
	const char *from;
	const char *to;
	enum breaks what;
	int device;
	int error;
} failures[] = {
	{ "identity, no domain", "DMA-FQ", "identity", DOMAIN, 0, -ENOMEM },
	{ "identity, attach first", "DMA-FQ", "identity", ATTACH, 0, -EINVAL },
	{ "identity, attach second", "DMA-FQ", "identity", ATTACH, 1, -EINVAL },
	{ "identity, attach last", "DMA", "identity", ATTACH, LAST, -EINVAL },
	{ "DMA, no domain", "identity", "DMA", DOMAIN, 0, -ENOMEM },
	{ "DMA, addresses of first", "identity", "DMA", ADDRESSES, 0, -EFAULT },
	{ "DMA, addresses of last", "identity", "DMA", ADDRESSES, LAST,
	  -EFAULT },
	{ "DMA, map for first", "identity", "DMA", MAP_MEMORY, 0, -ENOMEM },
	{ "DMA, map for last", "identity", "DMA", MAP_MEMORY, LAST, -ENOMEM },
	{ "DMA, never mapped for last", "identity", "DMA", MAP_EVER, LAST,
	  -ENXIO },
	{ "DMA, attach first", "identity", "DMA", ATTACH, 0, -EINVAL },
	{ "DMA, attach second", "identity", "DMA", ATTACH, 1, -EINVAL },
	{ "DMA, attach last", "identity", "DMA", ATTACH, LAST, -EINVAL },
	{ "DMA-FQ, no queue", "identity", "DMA-FQ", QUEUE, 0, -ENOMEM },
	{ "DMA-FQ over DMA, no queue", "DMA", "DMA-FQ", QUEUE, 0, -ENOMEM },
	{ "DMA-FQ, attach last", "identity", "DMA-FQ", ATTACH, LAST, -EINVAL },
	{ "auto, no domain", "identity", "auto", DOMAIN, 0, -ENOMEM },
	{ "auto, attach last", "identity", "auto", ATTACH, LAST, -EINVAL },
};

KUNIT_ARRAY_PARAM_DESC(failures, failures, name);

static int no_queue(struct iommu_domain *domain)
{
	return -ENOMEM;
}

/* Bus addresses far above what the domain can translate */
static const struct bus_dma_region far_away[] = {
	{ .dma_start = SZ_4G, .size = SZ_1G },
	{}
};

static void break_it(struct kunit *test, const struct failure *failure,
		     bool broken)
{
	struct mock_device *mdev = world.mdev[failure->device];
	bool identity = !strcmp(failure->to, "identity");

	switch (failure->what) {
	case DOMAIN:
		if (identity)
			world.mock->fail_identity_alloc =
				broken ? world.mock->identity_allocs + 1 : 0;
		else
			/* auto tries a strict domain when a lazy one fails */
			world.mock->fail_paging_allocs = broken ? 2 : 0;
		break;
	case QUEUE:
		if (broken)
			kunit_activate_static_stub(test, iommu_dma_init_fq,
						   no_queue);
		else
			kunit_deactivate_static_stub(test, iommu_dma_init_fq);
		break;
	case ADDRESSES:
		mdev->dev.dma_range_map = broken ? far_away : NULL;
		break;
	case MAP_MEMORY:
		world.map_error = broken ? -ENOMEM : 0;
		break;
	case MAP_EVER:
		world.map_error = broken ? -ENXIO : 0;
		break;
	case ATTACH:
		if (identity)
			mdev->fail_identity_attach = broken;
		else
			mdev->fail_paging_attach = broken;
		break;
	}
}

static bool breaks_after_attach(enum breaks what)
{
	return what == ATTACH || what == MAP_EVER;
}

static void test_failure(struct kunit *test)
{
	const struct failure *failure = test->param_value;
	struct state before;

	create_devices(test);
	if (failure->what == MAP_MEMORY || failure->what == MAP_EVER) {
		world.reserving = &world.mdev[failure->device]->dev;
		world.reserved = IOMMU_RESV_DIRECT;
	}
	register_devices(test);
	change_type(test, failure->from);
	forget_events();
	before = look();

	break_it(test, failure, true);
	KUNIT_EXPECT_EQ(test, write_type(failure->to), failure->error);
	expect_same(test, &before);
	expect_traced(test, failure->to, before.type, before.type,
		      failure->error);
	/* A device that need not be touched is not: its DMA may be going on */
	if (!breaks_after_attach(failure->what))
		for (int i = 0; i < NR_DEVICES; i++)
			KUNIT_EXPECT_EQ(test, world.mdev[i]->attaches,
					before.attaches[i]);
	break_it(test, failure, false);

	/* The devices work as they did, and the change can be made */
	if (strcmp(failure->from, "identity"))
		unmap(world.mdev[LAST], map(test, world.mdev[LAST]));
	change_type(test, failure->to);
	KUNIT_EXPECT_EQ(test, world.events->count, 1);
	if (strcmp(failure->to, "identity"))
		unmap(world.mdev[LAST], map(test, world.mdev[LAST]));
}

/* A driver that cannot map before it attaches has its mappings later */
static int late_map_pages(struct iommu_domain *domain, unsigned long iova,
			  phys_addr_t paddr, size_t pgsize, size_t pgcount,
			  int prot, gfp_t gfp, size_t *mapped)
{
	if (world.mdev[0]->attached != domain)
		return -ENODEV;
	return map_pages(domain, iova, paddr, pgsize, pgcount, prot, gfp,
			 mapped);
}

static const struct iommu_domain_ops late_domain_ops = {
	.attach_dev = attach_dev,
	.map_pages = late_map_pages,
	.unmap_pages = unmap_pages,
	.iova_to_phys = iova_to_phys,
	.flush_iotlb_all = flush_all,
	.iotlb_sync = sync_gathered,
	.free = domain_free,
};

static void test_mapped_after_attach(struct kunit *test)
{
	struct state before;

	create_devices(test);
	world.mock->ops.default_domain_ops = &late_domain_ops;
	world.reserving = &world.mdev[LAST]->dev;
	world.reserved = IOMMU_RESV_DIRECT;
	register_devices(test);
	change_type(test, "identity");
	change_type(test, "DMA");
	expect_type(test, "DMA", DMA);
	KUNIT_EXPECT_TRUE(test, world.mapped[RESERVED / SZ_4K]);

	change_type(test, "identity");
	forget_events();
	before = look();
	world.map_error = -ENOMEM;
	KUNIT_EXPECT_EQ(test, write_type("DMA"), -ENOMEM);
	expect_same(test, &before);
}

/* A driver that says how large a domain is when it attaches it */

static struct iommu_domain *unknown_domain(struct device *dev)
{
	struct iommu_domain *domain = small_domain(dev);

	if (!IS_ERR(domain))
		domain->geometry.aperture_end = 0;
	return domain;
}

static int finalising_attach_dev(struct iommu_domain *domain,
				 struct device *dev)
{
	domain->geometry.aperture_end = world.pages * SZ_4K - 1;
	return attach_dev(domain, dev);
}

static const struct iommu_domain_ops finalising_domain_ops = {
	.attach_dev = finalising_attach_dev,
	.map_pages = map_pages,
	.unmap_pages = unmap_pages,
	.iova_to_phys = iova_to_phys,
	.flush_iotlb_all = flush_all,
	.iotlb_sync = sync_gathered,
	.free = domain_free,
};

static void test_known_after_attach(struct kunit *test)
{
	struct state before;

	create_devices(test);
	world.mock->ops.domain_alloc_paging = unknown_domain;
	world.mock->ops.default_domain_ops = &finalising_domain_ops;
	register_devices(test);
	unmap(world.mdev[0], map(test, world.mdev[0]));

	change_type(test, "identity");
	forget_events();
	before = look();
	world.mdev[LAST]->dev.dma_range_map = far_away;
	KUNIT_EXPECT_EQ(test, write_type("DMA"), -EFAULT);
	expect_same(test, &before);
	world.mdev[LAST]->dev.dma_range_map = NULL;

	change_type(test, "DMA");
	expect_type(test, "DMA", DMA);
	unmap(world.mdev[LAST], map(test, world.mdev[LAST]));
}

/* Changes that succeed, and what is said about them */

static void expect_change(struct kunit *test, const char *word,
			  unsigned int number)
{
	const struct mock_uevent *event = &world.events->events[0];
	char old[16];

	mock_group_read(world.mdev[0], "type", old, sizeof(old));
	forget_events();
	change_type(test, word);
	expect_type(test, word, number);
	KUNIT_EXPECT_EQ(test, world.events->count, 1);
	KUNIT_EXPECT_EQ(test, world.events->last_group,
			iommu_group_id(world.mdev[0]->dev.iommu_group));
	KUNIT_EXPECT_STREQ(test, event->action, "change");
	KUNIT_EXPECT_STREQ(test, event->type, word);
	KUNIT_EXPECT_STREQ(test, event->source, "sysfs");
	expect_traced(test, word, strim(old), word, 0);
}

static void test_changes(struct kunit *test)
{
	create_group(test);
	expect_type(test, "DMA-FQ", DMA_FQ);
	KUNIT_EXPECT_EQ(test, world.events->count, 0);

	expect_change(test, "identity", IDENTITY);
	expect_change(test, "DMA", DMA);
	expect_change(test, "identity", IDENTITY);
	expect_change(test, "DMA-FQ", DMA_FQ);
	expect_change(test, "DMA", DMA);
	expect_change(test, "DMA-FQ", DMA_FQ);

	/* Only the source changes */
	forget_events();
	change_type(test, "auto");
	KUNIT_EXPECT_EQ(test, world.events->count, 1);
	KUNIT_EXPECT_STREQ(test, world.events->events[0].type, "DMA-FQ");
	KUNIT_EXPECT_STREQ(test, world.events->events[0].source, "default");
}

/* Events come in the order of the changes */
static void test_event_order(struct kunit *test)
{
	static const char * const types[] = {
		"identity", "DMA", "DMA-FQ", "identity", "DMA-FQ", "DMA",
	};

	create_group(test);
	for (int i = 0; i < ARRAY_SIZE(types); i++)
		change_type(test, types[i]);
	KUNIT_ASSERT_EQ(test, world.events->count, ARRAY_SIZE(types));
	for (int i = 0; i < ARRAY_SIZE(types); i++)
		KUNIT_EXPECT_STREQ(test, world.events->events[i].type,
				   types[i]);
}

static void expect_no_change(struct kunit *test, const char *word)
{
	struct state before = look();

	forget_events();
	change_type(test, word);
	expect_same(test, &before);
	for (int i = 0; i < NR_DEVICES; i++)
		KUNIT_EXPECT_EQ(test, world.mdev[i]->attaches,
				before.attaches[i]);
	expect_traced(test, word, before.type, before.type, 0);
}

/* The type that is there already */
static void test_same_type(struct kunit *test)
{
	static const char * const types[] = { "identity", "DMA", "DMA-FQ" };

	create_group(test);
	expect_no_change(test, "DMA-FQ");
	expect_no_change(test, "auto");
	for (int i = 0; i < ARRAY_SIZE(types); i++) {
		change_type(test, types[i]);
		expect_no_change(test, types[i]);
	}
	/* Also for a driver that is bound, where nothing has to go */
	KUNIT_ASSERT_EQ(test,
			iommu_device_use_default_domain(&world.mdev[1]->dev),
			0);
	expect_no_change(test, "DMA-FQ");
	change_type(test, "DMA");
	expect_no_change(test, "DMA");
	iommu_device_unuse_default_domain(&world.mdev[1]->dev);
}

/* What is no type is no attempt */
static void test_no_type(struct kunit *test)
{
	static const char * const words[] = {
		"dma", "DMA-FQ ", " DMA", "identityDMA", "unmanaged", "\n",
	};
	struct state before;

	create_group(test);
	before = look();
	for (int i = 0; i < ARRAY_SIZE(words); i++)
		KUNIT_EXPECT_EQ(test, write_type(words[i]), -EINVAL);
	expect_same(test, &before);
	KUNIT_EXPECT_EQ(test, world.attempts, 0);
}

static bool no_deferred_flush(struct device *dev, enum iommu_cap cap)
{
	return false;
}

/* Where flushes cannot be deferred there is no DMA-FQ */
static void test_not_lazy(struct kunit *test)
{
	create_devices(test);
	world.mock->ops.capable = no_deferred_flush;
	register_devices(test);
	expect_type(test, "DMA", DMA);
	KUNIT_EXPECT_EQ(test, write_type("DMA-FQ"), -EINVAL);
	change_type(test, "identity");
	KUNIT_EXPECT_EQ(test, write_type("DMA-FQ"), -EINVAL);
	expect_type(test, "identity", IDENTITY);
	change_type(test, "auto");
	expect_type(test, "DMA", DMA);
}

/* Regions that a device reserves */

static void expect_not_reserved(struct kunit *test, struct mock_device *mdev)
{
	dma_addr_t addr = map(test, mdev);

	KUNIT_EXPECT_LT(test, addr, RESERVED);
	unmap(mdev, addr);
}

static void test_reserved(struct kunit *test)
{
	create_devices(test);
	world.reserving = &world.mdev[LAST]->dev;
	world.reserved = IOMMU_RESV_RESERVED;
	register_devices(test);
	/* At boot, after a change, and for all of the devices */
	for (int i = 0; i < NR_DEVICES; i++)
		expect_not_reserved(test, world.mdev[i]);
	change_type(test, "identity");
	change_type(test, "DMA");
	for (int i = 0; i < NR_DEVICES; i++)
		expect_not_reserved(test, world.mdev[i]);
}

/* The window where writes are interrupts is listed once for all */
static void test_reserved_msi(struct kunit *test)
{
	create_devices(test);
	world.reserving = &world.mdev[1]->dev;
	world.reserved = IOMMU_RESV_MSI;
	register_devices(test);
	expect_not_reserved(test, world.mdev[0]);
	change_type(test, "identity");
	change_type(test, "DMA");
	expect_not_reserved(test, world.mdev[LAST]);
}

static void test_reserved_by_joiner(struct kunit *test)
{
	struct mock_device *joiner;

	create_group(test);
	joiner = new_device(test);
	world.reserving = &joiner->dev;
	world.reserved = IOMMU_RESV_RESERVED;
	mock_device_add(test, joiner);
	expect_not_reserved(test, joiner);
	expect_not_reserved(test, world.mdev[0]);
}

/* Joins */

/* A device that the domain cannot be made fit for does not join */
static void test_join_fails(struct kunit *test)
{
	struct mock_device *joiner;
	struct state before;

	create_group(test);
	before = look();
	joiner = new_device(test);
	joiner->dev.dma_range_map = far_away;
	mock_device_add(test, joiner);
	KUNIT_EXPECT_NULL(test, joiner->dev.iommu_group);
	KUNIT_EXPECT_NULL(test, joiner->attached);
	KUNIT_EXPECT_FALSE(test, joiner->dev.dma_iommu);
	expect_same(test, &before);
	expect_traced(test, "join", "DMA-FQ", "DMA-FQ", -EFAULT);
	joiner->dev.dma_range_map = NULL;
}

/* An identity domain needs nothing that could fail */
static void test_join_identity(struct kunit *test)
{
	struct mock_device *joiner;

	create_group(test);
	change_type(test, "identity");
	forget_events();
	joiner = new_device(test);
	mock_device_add(test, joiner);
	KUNIT_EXPECT_PTR_EQ(test, joiner->attached, world.mdev[0]->attached);
	KUNIT_EXPECT_FALSE(test, joiner->dev.dma_iommu);
	KUNIT_EXPECT_EQ(test, world.events->count, 0);
	expect_traced(test, "join", "identity", "identity", 0);
}

/* It comes when user space has the group, and works when the group is back */
static void test_join_owned(struct kunit *test)
{
	struct device *owned;
	struct mock_device *joiner;

	create_group(test);
	owned = &world.mdev[0]->dev;
	KUNIT_ASSERT_EQ(test, iommu_device_claim_dma_owner(owned, test), 0);
	joiner = new_device(test);
	world.reserving = &joiner->dev;
	world.reserved = IOMMU_RESV_RESERVED;
	mock_device_add(test, joiner);
	KUNIT_EXPECT_PTR_EQ(test, joiner->attached, world.mdev[0]->attached);
	iommu_device_release_dma_owner(owned);
	KUNIT_EXPECT_PTR_EQ(test, joiner->attached, world.mdev[0]->attached);
	KUNIT_EXPECT_TRUE(test, joiner->dev.dma_iommu);
	expect_not_reserved(test, joiner);
}

/* Who uses the group */

static void expect_held(struct kunit *test, struct device *dev,
			const char *how)
{
	static const char * const types[] = { "identity", "auto" };
	struct state before = look();

	for (int i = 0; i < ARRAY_SIZE(types); i++) {
		forget_events();
		KUNIT_EXPECT_EQ(test, write_type(types[i]), -EPERM);
		expect_same(test, &before);
		expect_traced(test, types[i], before.type, before.type, -EPERM);
		KUNIT_ASSERT_NOT_NULL(test, world.how);
		KUNIT_EXPECT_PTR_EQ(test, world.holder, dev);
		KUNIT_EXPECT_STREQ(test, world.how, how);
	}
}

static void test_used_by_driver(struct kunit *test)
{
	struct device *user;

	create_group(test);
	user = &world.mdev[1]->dev;
	KUNIT_ASSERT_EQ(test, iommu_device_use_default_domain(user), 0);
	expect_held(test, user, "a driver uses this device");
	iommu_device_unuse_default_domain(user);

	forget_events();
	change_type(test, "identity");
	KUNIT_EXPECT_NULL(test, world.how);
}

static void test_used_by_owner(struct kunit *test)
{
	struct device *user;

	create_group(test);
	user = &world.mdev[1]->dev;
	KUNIT_ASSERT_EQ(test, iommu_device_claim_dma_owner(user, test), 0);
	expect_held(test, NULL,
		    "its DMA is owned by user space, or by a driver with domains of its own");
	iommu_device_release_dma_owner(user);
	change_type(test, "identity");
}

static void test_used_by_other_domain(struct kunit *test)
{
	struct iommu_group *group;
	struct iommu_domain *domain;

	create_group(test);
	group = iommu_group_get(&world.mdev[0]->dev);
	domain = iommu_paging_domain_alloc(&world.mdev[0]->dev);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, domain);
	KUNIT_EXPECT_EQ(test, iommu_attach_group(domain, group), 0);
	expect_held(test, NULL,
		    "its DMA is owned by user space, or by a driver with domains of its own");
	iommu_detach_group(domain, group);
	iommu_domain_free(domain);
	iommu_group_put(group);
	change_type(test, "identity");
}

static bool msi_is_mapped(struct iommu_domain *domain)
{
	return iommu_is_dma_domain(domain);
}

/* A port driver does not count, but its interrupts go through the domain */
static void test_used_by_interrupts(struct kunit *test)
{
#ifdef CONFIG_GENERIC_MSI_IRQ
	struct device *user;

	create_group(test);
	user = &world.mdev[1]->dev;
	kunit_activate_static_stub(test, iommu_dma_has_msi_mapping,
				   msi_is_mapped);
	/* All that is looked at is whether there is any */
	user->msi.data = (struct msi_device_data *)test;
	expect_held(test, user,
		    "interrupts of this device may be mapped through the group's domain");
	/* The domain stays where only the flushing changes */
	change_type(test, "DMA");
	change_type(test, "DMA-FQ");

	user->msi.data = NULL;
	change_type(test, "identity");
#else
	kunit_skip(test, "this kernel has no generic MSIs");
#endif
}

/* A driver on the mock bus, for the device that it finds first */

static struct device *driven;
static int probe_result;
static int write_when_released;

static void write_identity(void *data)
{
	write_when_released = write_type("identity");
}

static int driver_probe(struct device *dev)
{
	int ret;

	if (dev != driven)
		return -ENODEV;
	ret = devm_add_action(dev, write_identity, NULL);
	return ret ?: probe_result;
}

static void unregister_driver(void *driver)
{
	driver_unregister(driver);
}

static void run_driver(struct kunit *test, int result)
{
	static struct device_driver driver;

	driver = (struct device_driver) {
		.name = "iommu_kunit_driver",
		.bus = world.mock->bus,
		.probe = driver_probe,
	};
	driven = &world.mdev[1]->dev;
	probe_result = result;
	write_when_released = 0;
	KUNIT_ASSERT_EQ(test, driver_register(&driver), 0);
	KUNIT_ASSERT_EQ(test,
			kunit_add_action_or_reset(test, unregister_driver,
						  &driver), 0);
	KUNIT_EXPECT_PTR_EQ(test, driven->driver, result ? NULL : &driver);
	kunit_release_action(test, unregister_driver, &driver);
}

/* While managed resources of the driver are released it has not gone */
static void test_used_until_released(struct kunit *test)
{
	create_group(test);
	run_driver(test, 0);
	KUNIT_EXPECT_EQ(test, write_when_released, -EPERM);
	KUNIT_EXPECT_PTR_EQ(test, world.holder, driven);
	expect_type(test, "DMA-FQ", DMA_FQ);
	change_type(test, "identity");
}

/* The same when its probe fails */
static void test_used_until_probe_undone(struct kunit *test)
{
	create_group(test);
	run_driver(test, -ENODEV);
	KUNIT_EXPECT_EQ(test, write_when_released, -EPERM);
	KUNIT_EXPECT_PTR_EQ(test, world.holder, driven);
	expect_type(test, "DMA-FQ", DMA_FQ);
	change_type(test, "identity");
}

/* Lazy flushing, on and off */

static void test_stop_flushes(struct kunit *test)
{
	dma_addr_t addr[8];
	int i;

	create_group(test);
	for (i = 0; i < ARRAY_SIZE(addr); i++)
		addr[i] = map(test, world.mdev[0]);
	for (i = 0; i < ARRAY_SIZE(addr); i++)
		unmap(world.mdev[0], addr[i]);
	change_type(test, "DMA");
	KUNIT_EXPECT_EQ(test, cached_pages(), 0);

	/* And from now on each unmap is flushed for at once */
	for (i = 0; i < ARRAY_SIZE(addr); i++)
		addr[i] = map(test, world.mdev[0]);
	for (i = 0; i < ARRAY_SIZE(addr); i++) {
		unmap(world.mdev[0], addr[i]);
		KUNIT_EXPECT_EQ(test, cached_pages(), 0);
	}
}

static void write_strict(struct kunit *test)
{
	change_type(test, "DMA");
}

static void write_lazy(struct kunit *test)
{
	change_type(test, "DMA-FQ");
}

static void write_strict_and_lazy(struct kunit *test)
{
	change_type(test, "DMA");
	change_type(test, "DMA-FQ");
}

/*
 * The unmap has begun in lazy mode, and the write ends before it does. What is
 * unmapped after the write's flush is not in the TLB when the unmap is done.
 */
static void test_stop_during_unmap(struct kunit *test)
{
	dma_addr_t addr;
	int cached;

	create_group(test);
	addr = map(test, world.mdev[0]);
	world.in_unmap = write_strict;
	unmap(world.mdev[0], addr);
	/* At once, before a timer could make it true */
	cached = cached_pages();
	KUNIT_EXPECT_EQ(test, cached, 0);
	expect_type(test, "DMA", DMA);
	KUNIT_EXPECT_FALSE(test, world.mapped[addr / SZ_4K]);
}

/* It may come to a queue that is on again, and then waits there as usual */
static void test_restart_during_unmap(struct kunit *test)
{
	dma_addr_t addr;

	create_group(test);
	addr = map(test, world.mdev[0]);
	world.in_unmap = write_strict_and_lazy;
	unmap(world.mdev[0], addr);
	change_type(test, "DMA");
	KUNIT_EXPECT_EQ(test, cached_pages(), 0);
}

/* An unmap that has begun in strict mode does not look for a queue */
static void test_start_during_unmap(struct kunit *test)
{
	dma_addr_t addr;

	create_group(test);
	change_type(test, "DMA");
	addr = map(test, world.mdev[0]);
	world.in_unmap = write_lazy;
	unmap(world.mdev[0], addr);
	KUNIT_EXPECT_EQ(test, cached_pages(), 0);
	expect_type(test, "DMA-FQ", DMA_FQ);
}

/*
 * Each round queues, flushes, and has an unmap under way. An address that got
 * lost in one would be missed after some more, and one that was given out too
 * early cannot be mapped.
 */
static void test_on_and_off(struct kunit *test)
{
	const int rounds = 200;
	dma_addr_t addr[4];

	create_devices(test);
	world.pages = 64;
	register_devices(test);
	for (int round = 0; round < rounds; round++) {
		for (int i = 0; i < ARRAY_SIZE(addr); i++)
			addr[i] = map(test, world.mdev[i % NR_DEVICES]);
		for (int i = 0; i < ARRAY_SIZE(addr) - 1; i++)
			unmap(world.mdev[i % NR_DEVICES], addr[i]);
		world.in_unmap = round & 1 ? write_strict_and_lazy :
					     write_strict;
		unmap(world.mdev[0], addr[ARRAY_SIZE(addr) - 1]);
		change_type(test, "DMA");
		KUNIT_ASSERT_EQ(test, cached_pages(), 0);
		change_type(test, "DMA-FQ");
	}
	expect_type(test, "DMA-FQ", DMA_FQ);
}

/* More than a queue has room for, with the queue off in between */
static void test_full_queue(struct kunit *test)
{
	create_devices(test);
	world.pages = MAX_PAGES;
	register_devices(test);
	for (int i = 0; i < 1000; i++)
		unmap(world.mdev[0], map(test, world.mdev[0]));
	change_type(test, "DMA");
	KUNIT_EXPECT_EQ(test, cached_pages(), 0);
	change_type(test, "DMA-FQ");
	for (int i = 0; i < 1000; i++)
		unmap(world.mdev[0], map(test, world.mdev[0]));
	change_type(test, "identity");
	expect_type(test, "identity", IDENTITY);
}

static struct kunit_case type_change_cases[] = {
	KUNIT_CASE_PARAM(test_failure, failures_gen_params),
	KUNIT_CASE(test_mapped_after_attach),
	KUNIT_CASE(test_known_after_attach),
	KUNIT_CASE(test_changes),
	KUNIT_CASE(test_event_order),
	KUNIT_CASE(test_same_type),
	KUNIT_CASE(test_no_type),
	KUNIT_CASE(test_not_lazy),
	KUNIT_CASE(test_reserved),
	KUNIT_CASE(test_reserved_msi),
	KUNIT_CASE(test_reserved_by_joiner),
	KUNIT_CASE(test_join_fails),
	KUNIT_CASE(test_join_identity),
	KUNIT_CASE(test_join_owned),
	KUNIT_CASE(test_used_by_driver),
	KUNIT_CASE(test_used_by_owner),
	KUNIT_CASE(test_used_by_other_domain),
	KUNIT_CASE(test_used_by_interrupts),
	KUNIT_CASE(test_used_until_released),
	KUNIT_CASE(test_used_until_probe_undone),
	KUNIT_CASE(test_stop_flushes),
	KUNIT_CASE(test_stop_during_unmap),
	KUNIT_CASE(test_restart_during_unmap),
	KUNIT_CASE(test_start_during_unmap),
	KUNIT_CASE(test_on_and_off),
	KUNIT_CASE(test_full_queue),
	{}
};

static struct kunit_suite type_change_suite = {
	.name = "iommu_type_change",
	.test_cases = type_change_cases,
};

kunit_test_suite(type_change_suite);
