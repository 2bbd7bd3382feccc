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
#include <linux/bitmap.h>
#include <linux/bottom_half.h>
#include <linux/cpumask.h>
#include <linux/device/driver.h>
#include <linux/dma-direct.h>
#include <linux/dma-mapping.h>
#include <linux/iommu.h>
#include <linux/mm.h>
#include <linux/msi.h>
#include <linux/sizes.h>
#include <trace/events/iommu.h>

#include "../dma-iommu.h"
#include "../iommu-pages.h"
#include "../iommu-priv.h"
#include "mock_iommu.h"

#define DMA		IOMMU_DOMAIN_DMA
#define DMA_FQ		IOMMU_DOMAIN_DMA_FQ
#define IDENTITY	IOMMU_DOMAIN_IDENTITY

#define NR_DEVICES	3
#define LAST		(NR_DEVICES - 1)

/* Pages that a domain can translate, if a test wants no others */
#define NR_PAGES	256
/* More than any queue has room for */
#define MAX_PAGES	(SZ_32K + NR_PAGES)
#define MAX_TABLES	2048
#define MAX_REGIONS	4
/* What a device may reserve: the addresses that are given out first */
#define RESERVED	((NR_PAGES - 16) * SZ_4K)
#define RESERVED_SIZE	(SZ_4K * 16)

/* What firmware or the IOMMU wants of a device's addresses */
struct region {
	struct device *dev;
	enum iommu_resv_type type;
	phys_addr_t start;
	size_t size;
};

/**
 * struct world - the group, its hardware, and what was seen
 * @mock: the IOMMU
 * @mdev: the devices of the group
 * @page: memory to map
 * @pages: so many pages can be mapped; page 0 only one to one
 * @mapped: pages that the page table translates
 * @cached: pages that the TLB still translates; the flush queue's timer may
 *	clear it at any time
 * @map_error: mapping fails with this error, if not 0
 * @mapped_twice: pages that were mapped while they were
 * @last_mapped: the memory that was mapped last
 * @lookups: addresses that were looked up in the page table
 * @tables: pages that unmaps took out of the page table, each of which the test
 *	has a reference to
 * @nr_tables: how many these are
 * @keep_tables: unmaps take none out of the page table
 * @unmaps: unmaps so far
 * @queue_allocs: rings of flush queues that were to be allocated
 * @fail_queue_alloc: which of them fails, counted from 1; 0 fails none
 * @regions: regions of the devices
 * @nr_regions: how many these are
 * @alloc_identity: the mock's way to allocate an identity domain
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
	DECLARE_BITMAP(mapped, MAX_PAGES);
	DECLARE_BITMAP(cached, MAX_PAGES);
	int map_error;
	unsigned int mapped_twice;
	phys_addr_t last_mapped;
	unsigned int lookups;
	struct page *tables[MAX_TABLES];
	unsigned int nr_tables;
	bool keep_tables;
	unsigned int unmaps;
	unsigned int queue_allocs;
	unsigned int fail_queue_alloc;
	struct region regions[MAX_REGIONS];
	unsigned int nr_regions;
	struct iommu_domain *(*alloc_identity)(struct device *dev);
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
	/* The timer may be at it */
	return data_race(bitmap_weight(world.cached, MAX_PAGES));
}

static void flush_tlb(void)
{
	for (int i = 0; i < BITS_TO_LONGS(MAX_PAGES); i++)
		WRITE_ONCE(world.cached[i], 0);
}

static void flush_all(struct iommu_domain *domain)
{
	flush_tlb();
}

static void sync_gathered(struct iommu_domain *domain,
			  struct iommu_iotlb_gather *gather)
{
	flush_tlb();
	iommu_put_pages_list(&gather->freelist);
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
		if (test_bit(first + i, world.cached))
			return -EADDRINUSE;
		if (test_and_set_bit(first + i, world.mapped)) {
			world.mapped_twice++;
			return -EADDRINUSE;
		}
	}
	world.last_mapped = paddr;
	*mapped = pgcount * pgsize;
	return 0;
}

/* As if nothing was left in so many tables, which may not be freed yet */
static void take_tables(struct iommu_iotlb_gather *gather)
{
	static const unsigned int some[] = { 1, 3, 0 };
	unsigned int nr = some[world.unmaps++ % ARRAY_SIZE(some)];

	for (; nr && !world.keep_tables; nr--) {
		void *table = iommu_alloc_page(GFP_ATOMIC);
		struct page *page;

		if (!table || world.nr_tables == MAX_TABLES) {
			iommu_free_page(table);
			KUNIT_FAIL(world.mock->test, "no memory or no room");
			return;
		}
		page = virt_to_page(table);
		get_page(page);
		world.tables[world.nr_tables++] = page;
		list_add_tail(&page->lru, &gather->freelist);
	}
}

/* Tables that nobody has freed yet */
static unsigned int tables_left(void)
{
	unsigned int count = 0;

	for (int i = 0; i < world.nr_tables; i++)
		count += page_count(world.tables[i]) != 1;
	return count;
}

static void put_tables(void *data)
{
	struct kunit *test = data;

	/* The devices are gone, and the domains */
	KUNIT_EXPECT_EQ(test, tables_left(), 0);
	for (int i = 0; i < world.nr_tables; i++)
		put_page(world.tables[i]);
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
		clear_bit(first + i, world.mapped);
		set_bit(first + i, world.cached);
	}
	take_tables(gather);
	return pgcount * pgsize;
}

static phys_addr_t iova_to_phys(struct iommu_domain *domain, dma_addr_t iova)
{
	world.lookups++;
	/* Everything is mapped one to one, as far as anybody asks */
	return test_bit(iova / SZ_4K, world.mapped) ? iova : 0;
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
	bitmap_zero(world.mapped, MAX_PAGES);
	flush_tlb();
	return domain;
}

static void resv_regions(struct device *dev, struct list_head *regions)
{
	struct iommu_resv_region *region;

	for (int i = 0; i < world.nr_regions; i++) {
		const struct region *wanted = &world.regions[i];

		if (wanted->dev != dev)
			continue;
		region = iommu_alloc_resv_region(wanted->start, wanted->size,
						 IOMMU_READ, wanted->type,
						 GFP_KERNEL | __GFP_NOFAIL);
		list_add_tail(&region->list, regions);
	}
}

static void reserve_at(struct mock_device *mdev, enum iommu_resv_type type,
		       phys_addr_t start, size_t size)
{
	world.regions[world.nr_regions++] = (struct region) {
		.dev = &mdev->dev,
		.type = type,
		.start = start,
		.size = size,
	};
}

static void reserve(struct mock_device *mdev, enum iommu_resv_type type)
{
	reserve_at(mdev, type, RESERVED, RESERVED_SIZE);
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
	memset(&world, 0, sizeof(world));
	world.pages = NR_PAGES;
	KUNIT_ASSERT_EQ(test, kunit_add_action_or_reset(test, put_tables, test),
			0);
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
	{ "auto, no queue", "identity", "auto", QUEUE, 0, -ENOMEM },
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
			/* auto is not to try a strict domain then */
			world.mock->fail_paging_allocs = broken;
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
	if (failure->what == MAP_MEMORY || failure->what == MAP_EVER)
		reserve(world.mdev[failure->device], IOMMU_RESV_DIRECT);
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
	reserve(world.mdev[LAST], IOMMU_RESV_DIRECT);
	register_devices(test);
	change_type(test, "identity");
	change_type(test, "DMA");
	expect_type(test, "DMA", DMA);
	KUNIT_EXPECT_TRUE(test, test_bit(RESERVED / SZ_4K, world.mapped));

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
	/* The domain is what the default can be here */
	expect_no_change(test, "auto");
	KUNIT_EXPECT_EQ(test, write_type("DMA-FQ"), -EINVAL);
	change_type(test, "identity");
	KUNIT_EXPECT_EQ(test, write_type("DMA-FQ"), -EINVAL);
	expect_type(test, "identity", IDENTITY);
	change_type(test, "auto");
	expect_type(test, "DMA", DMA);
	expect_no_change(test, "auto");
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
	reserve(world.mdev[LAST], IOMMU_RESV_RESERVED);
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
	reserve(world.mdev[1], IOMMU_RESV_MSI);
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
	reserve(joiner, IOMMU_RESV_RESERVED);
	mock_device_add(test, joiner);
	expect_not_reserved(test, joiner);
	expect_not_reserved(test, world.mdev[0]);
}

/* Regions that a device wants mapped one to one */

static void expect_direct(struct kunit *test, unsigned int first,
			  unsigned int nr)
{
	KUNIT_EXPECT_EQ(test, world.mapped_twice, 0);
	KUNIT_EXPECT_EQ(test, find_first_bit(world.mapped, MAX_PAGES), first);
	KUNIT_EXPECT_EQ(test,
			find_next_zero_bit(world.mapped, MAX_PAGES, first),
			first + nr);
	KUNIT_EXPECT_EQ(test, bitmap_weight(world.mapped, MAX_PAGES), nr);
}

static void reserve_direct(struct mock_device *mdev, unsigned int first,
			   unsigned int nr)
{
	reserve_at(mdev, IOMMU_RESV_DIRECT, first * SZ_4K, nr * SZ_4K);
}

/* Nothing is looked for in a domain that has nothing in it */
static void test_direct(struct kunit *test)
{
	struct mock_device *joiner;

	create_devices(test);
	reserve_direct(world.mdev[1], 8, 16);
	register_devices(test);
	KUNIT_EXPECT_EQ(test, world.lookups, 0);
	expect_direct(test, 8, 16);

	/* But in the domain that a device joins */
	joiner = new_device(test);
	reserve_direct(joiner, 8, 16);
	mock_device_add(test, joiner);
	KUNIT_EXPECT_PTR_EQ(test, joiner->attached, world.mdev[0]->attached);
	KUNIT_EXPECT_EQ(test, world.lookups, 16);
	expect_direct(test, 8, 16);
}

/* What several devices want is mapped once */
static void test_direct_overlap(struct kunit *test)
{
	struct mock_device *joiner;

	create_devices(test);
	reserve_direct(world.mdev[0], 8, 16);
	reserve_direct(world.mdev[1], 20, 8);
	/* On both sides of what is there */
	reserve_direct(world.mdev[LAST], 4, 32);
	register_devices(test);
	expect_direct(test, 4, 32);
	change_type(test, "identity");
	change_type(test, "DMA");
	expect_direct(test, 4, 32);

	joiner = new_device(test);
	reserve_direct(joiner, 2, 16);
	mock_device_add(test, joiner);
	KUNIT_EXPECT_PTR_EQ(test, joiner->attached, world.mdev[0]->attached);
	expect_direct(test, 2, 34);
}

/* A look-up that finds physical address 0 looks like one that finds nothing */
static void test_direct_at_zero(struct kunit *test)
{
	struct mock_device *joiner;

	create_devices(test);
	reserve_direct(world.mdev[0], 0, 16);
	reserve_direct(world.mdev[1], 0, 8);
	register_devices(test);
	expect_direct(test, 0, 16);

	joiner = new_device(test);
	reserve_direct(joiner, 0, 24);
	mock_device_add(test, joiner);
	KUNIT_EXPECT_PTR_EQ(test, joiner->attached, world.mdev[0]->attached);
	expect_direct(test, 0, 24);
}

/* Doorbells, in windows where writes are interrupts and elsewhere */

#ifdef CONFIG_IRQ_MSI_IOMMU
#define WINDOW		0xfee00000U
/* Where it is in its granule */
#define OFFSET		0x40

/* Where a device has to write to, to reach a doorbell */
static u64 msi_target(struct kunit *test, struct mock_device *mdev,
		      phys_addr_t doorbell)
{
	struct msi_desc desc = { .dev = &mdev->dev };
	struct msi_msg msg = {
		.address_lo = lower_32_bits(doorbell),
		.address_hi = upper_32_bits(doorbell),
	};
	unsigned int shift;

	KUNIT_EXPECT_EQ(test, iommu_dma_prepare_msi(&desc, doorbell), 0);
	shift = desc.iommu_msi_shift;
	KUNIT_EXPECT_EQ(test, shift, 12);
	iommu_dma_compose_msi_msg(&desc, &msg);
	return (u64)msg.address_hi << 32 | msg.address_lo;
}

static phys_addr_t doorbell_in(int granule)
{
	return WINDOW + granule * SZ_4K + OFFSET;
}

/* Each of them is written to as if there was no IOMMU */
static void expect_untranslated(struct kunit *test, struct mock_device *mdev,
				int first, int nr)
{
	for (int i = first; i < first + nr; i++)
		KUNIT_EXPECT_EQ(test, msi_target(test, mdev, doorbell_in(i)),
				doorbell_in(i));
	KUNIT_EXPECT_EQ(test, bitmap_weight(world.mapped, MAX_PAGES), 0);
}

static void expect_translated(struct kunit *test, int granule)
{
	phys_addr_t doorbell = doorbell_in(granule);
	int others = bitmap_weight(world.mapped, MAX_PAGES);
	u64 addr = msi_target(test, world.mdev[0], doorbell);

	KUNIT_ASSERT_LT(test, addr, world.pages * SZ_4K);
	KUNIT_EXPECT_EQ(test, addr % SZ_4K, OFFSET);
	KUNIT_EXPECT_TRUE(test, test_bit(addr / SZ_4K, world.mapped));
	KUNIT_EXPECT_EQ(test, world.last_mapped, doorbell - OFFSET);

	/* Once for all, and for all that is in the granule */
	KUNIT_EXPECT_EQ(test, msi_target(test, world.mdev[0], doorbell), addr);
	KUNIT_EXPECT_EQ(test, msi_target(test, world.mdev[LAST], doorbell + 4),
			addr + 4);
	KUNIT_EXPECT_EQ(test, bitmap_weight(world.mapped, MAX_PAGES),
			others + 1);
}
#endif

static void test_doorbells(struct kunit *test)
{
#ifdef CONFIG_IRQ_MSI_IOMMU
	create_devices(test);
	reserve_at(world.mdev[1], IOMMU_RESV_MSI, WINDOW, 8 * SZ_4K);
	register_devices(test);
	/* The window of one is that of all, and the granule is kept */
	expect_untranslated(test, world.mdev[0], 5, 1);
	expect_untranslated(test, world.mdev[1], 0, 8);
	change_type(test, "identity");
	change_type(test, "DMA");
	expect_untranslated(test, world.mdev[LAST], 0, 8);

	expect_translated(test, -1);
	expect_translated(test, 8);
	expect_translated(test, 1000);
	KUNIT_EXPECT_EQ(test,
			msi_target(test, world.mdev[0], doorbell_in(7)),
			doorbell_in(7));
#else
	kunit_skip(test, "this kernel does not translate MSIs");
#endif
}

static void test_doorbells_overlap(struct kunit *test)
{
#ifdef CONFIG_IRQ_MSI_IOMMU
	struct mock_device *joiner;

	create_devices(test);
	reserve_at(world.mdev[0], IOMMU_RESV_MSI, WINDOW, 8 * SZ_4K);
	reserve_at(world.mdev[1], IOMMU_RESV_MSI, WINDOW + 4 * SZ_4K,
		   8 * SZ_4K);
	reserve_at(world.mdev[LAST], IOMMU_RESV_MSI, WINDOW + 2 * SZ_4K,
		   SZ_4K);
	register_devices(test);
	for (int i = 0; i < NR_DEVICES; i++)
		expect_untranslated(test, world.mdev[i], 0, 12);

	joiner = new_device(test);
	reserve_at(joiner, IOMMU_RESV_MSI, WINDOW - 4 * SZ_4K, 8 * SZ_4K);
	mock_device_add(test, joiner);
	expect_untranslated(test, joiner, -4, 16);
	expect_untranslated(test, world.mdev[0], -4, 16);

	expect_translated(test, -5);
	expect_translated(test, 12);
#else
	kunit_skip(test, "this kernel does not translate MSIs");
#endif
}

/* No doorbell is in a window of no size */
static void test_doorbells_nowhere(struct kunit *test)
{
#ifdef CONFIG_IRQ_MSI_IOMMU
	create_devices(test);
	reserve_at(world.mdev[0], IOMMU_RESV_MSI, WINDOW + OFFSET, 0);
	register_devices(test);
	expect_translated(test, 0);
	expect_translated(test, -1);
#else
	kunit_skip(test, "this kernel does not translate MSIs");
#endif
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
	reserve(joiner, IOMMU_RESV_RESERVED);
	mock_device_add(test, joiner);
	KUNIT_EXPECT_PTR_EQ(test, joiner->attached, world.mdev[0]->attached);
	iommu_device_release_dma_owner(owned);
	KUNIT_EXPECT_PTR_EQ(test, joiner->attached, world.mdev[0]->attached);
	KUNIT_EXPECT_TRUE(test, joiner->dev.dma_iommu);
	expect_not_reserved(test, joiner);
}

/* Who uses the group */

static void expect_held_from(struct kunit *test, const char *other,
			     struct device *dev, const char *how)
{
	const char * const types[] = { other, "auto" };
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

static void expect_held(struct kunit *test, struct device *dev,
			const char *how)
{
	expect_held_from(test, "identity", dev, how);
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

#ifdef CONFIG_IRQ_MSI_IOMMU
/* All that is looked at is whether a device has any MSI */
static void set_msi(struct device *dev, void *data)
{
	dev->msi.data = data;
}
#endif

/* A port driver does not count, but its interrupts go through the domain */
static void test_used_by_interrupts(struct kunit *test)
{
#ifdef CONFIG_IRQ_MSI_IOMMU
	static const char how[] =
		"interrupts of this device go through the group's domain";
	struct device *user;

	create_devices(test);
	for (int i = 1; i < NR_DEVICES; i++)
		reserve_at(world.mdev[i], IOMMU_RESV_SW_MSI, RESERVED,
			   RESERVED_SIZE);
	register_devices(test);
	user = &world.mdev[1]->dev;
	set_msi(user, test);
	expect_held(test, user, how);
	/* The domain stays where only the flushing changes */
	change_type(test, "DMA");
	change_type(test, "DMA-FQ");

	/* Nor is a physical address right in a domain that translates */
	set_msi(user, NULL);
	change_type(test, "identity");
	set_msi(user, test);
	expect_held_from(test, "DMA", user, how);

	/* The other one has interrupts that do not go through the IOMMU */
	set_msi(user, NULL);
	set_msi(&world.mdev[0]->dev, test);
	change_type(test, "DMA");
	set_msi(&world.mdev[0]->dev, NULL);
#else
	kunit_skip(test, "this kernel does not translate MSIs");
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

/* Lazy flushing, on and off, with both kinds of queues */

static const struct queue {
	const char *name;
	bool single;
	unsigned int holds;	/* that many unmaps, before it is full */
} queues[] = {
	{ "per CPU", false, 255 },
	{ "single", true, SZ_32K - 1 },
};

KUNIT_ARRAY_PARAM_DESC(queues, queues, name);

static void create_queue_devices(struct kunit *test)
{
	const struct queue *queue = test->param_value;

	create_devices(test);
	world.mock->shadow_on_flush = queue->single;
}

static void create_queue_group(struct kunit *test)
{
	create_queue_devices(test);
	register_devices(test);
}

static void map_some(struct kunit *test, unsigned int nr)
{
	while (nr--)
		map(test, world.mdev[0]);
}

static void unmap_some(unsigned int nr)
{
	unsigned long page;

	for_each_set_bit(page, world.mapped, MAX_PAGES) {
		if (!nr--)
			return;
		unmap(world.mdev[0], page * SZ_4K);
	}
}

/* What was unmapped and is not flushed for, and what waits with it */
struct waiting {
	int cached;
	unsigned int tables;
};

static struct waiting look_at_queue(void)
{
	return (struct waiting) {
		.cached = cached_pages(),
		.tables = tables_left(),
	};
}

static void expect_flushed(struct kunit *test)
{
	KUNIT_EXPECT_EQ(test, cached_pages(), 0);
	KUNIT_EXPECT_EQ(test, tables_left(), 0);
}

static void test_stop_flushes(struct kunit *test)
{
	struct waiting waiting;
	dma_addr_t addr[8];
	int i;

	create_queue_group(test);
	map_some(test, ARRAY_SIZE(addr));
	/* The queue's timer has to wait */
	local_bh_disable();
	unmap_some(ARRAY_SIZE(addr));
	waiting = look_at_queue();
	local_bh_enable();
	change_type(test, "DMA");
	expect_flushed(test);
	KUNIT_EXPECT_EQ(test, waiting.cached, ARRAY_SIZE(addr));
	KUNIT_EXPECT_EQ(test, waiting.tables, world.nr_tables);

	/* And from now on each unmap is flushed for at once */
	for (i = 0; i < ARRAY_SIZE(addr); i++)
		addr[i] = map(test, world.mdev[0]);
	for (i = 0; i < ARRAY_SIZE(addr); i++) {
		unmap(world.mdev[0], addr[i]);
		expect_flushed(test);
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
	struct waiting waiting;
	dma_addr_t addr;

	create_queue_group(test);
	addr = map(test, world.mdev[0]);
	world.in_unmap = write_strict;
	unmap(world.mdev[0], addr);
	/* At once, before a timer could make it true */
	waiting = look_at_queue();
	KUNIT_EXPECT_EQ(test, waiting.cached, 0);
	KUNIT_EXPECT_EQ(test, waiting.tables, 0);
	expect_type(test, "DMA", DMA);
	KUNIT_EXPECT_FALSE(test, test_bit(addr / SZ_4K, world.mapped));
}

/* It may come to a queue that is on again, and then waits there as usual */
static void test_restart_during_unmap(struct kunit *test)
{
	dma_addr_t addr;

	create_queue_group(test);
	addr = map(test, world.mdev[0]);
	world.in_unmap = write_strict_and_lazy;
	unmap(world.mdev[0], addr);
	change_type(test, "DMA");
	expect_flushed(test);
}

/* An unmap that has begun in strict mode does not look for a queue */
static void test_start_during_unmap(struct kunit *test)
{
	dma_addr_t addr;

	create_queue_group(test);
	change_type(test, "DMA");
	addr = map(test, world.mdev[0]);
	world.in_unmap = write_lazy;
	unmap(world.mdev[0], addr);
	expect_flushed(test);
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

	create_queue_devices(test);
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
		KUNIT_ASSERT_EQ(test, tables_left(), 0);
		change_type(test, "DMA-FQ");
	}
	expect_type(test, "DMA-FQ", DMA_FQ);
}

/* More than a queue has room for, with the queue off in between */
static void test_full_queue(struct kunit *test)
{
	const struct queue *queue = test->param_value;
	struct waiting full, flushed;
	unsigned int before;

	create_queue_devices(test);
	world.pages = queue->holds + NR_PAGES;
	register_devices(test);
	/* Off and on again, and nothing has started the timer yet */
	change_type(test, "DMA");
	change_type(test, "DMA-FQ");

	map_some(test, queue->holds + 1);
	/* The CPU stays the same, and no timer runs */
	local_bh_disable();
	/* The tables of the first ones would be too many */
	world.keep_tables = true;
	unmap_some(queue->holds - 100);
	world.keep_tables = false;
	unmap_some(100);
	full = look_at_queue();
	before = world.nr_tables;
	unmap_some(1);
	flushed = look_at_queue();
	local_bh_enable();
	KUNIT_EXPECT_EQ(test, full.cached, queue->holds);
	KUNIT_EXPECT_GT(test, before, 100);
	KUNIT_EXPECT_EQ(test, full.tables, before);
	/* The last one is flushed for as well, but waits for the next flush */
	KUNIT_EXPECT_EQ(test, flushed.cached, 0);
	KUNIT_EXPECT_EQ(test, flushed.tables, world.nr_tables - before);
	KUNIT_EXPECT_EQ(test, world.unmaps, queue->holds + 1);

	change_type(test, "DMA");
	expect_flushed(test);
	change_type(test, "DMA-FQ");
	for (int i = 0; i < 1000; i++)
		unmap(world.mdev[0], map(test, world.mdev[0]));
	change_type(test, "identity");
	expect_type(test, "identity", IDENTITY);
	KUNIT_EXPECT_EQ(test, tables_left(), 0);
}

/* The domain goes at once, so that the queue's timer is too late */
static struct iommu_domain *unmap_and_alloc_identity(struct device *dev)
{
	unmap_some(MAX_PAGES);
	return world.alloc_identity(dev);
}

static void test_free_queued(struct kunit *test)
{
	create_queue_devices(test);
	world.alloc_identity = world.mock->ops.domain_alloc_identity;
	world.mock->ops.domain_alloc_identity = unmap_and_alloc_identity;
	register_devices(test);
	map_some(test, 8);
	change_type(test, "identity");
	expect_type(test, "identity", IDENTITY);
	KUNIT_EXPECT_NE(test, world.nr_tables, 0);
	KUNIT_EXPECT_EQ(test, tables_left(), 0);
}

static int fail_one_fq(struct iova_fq *fq, size_t fq_size, int node)
{
	struct kunit *test = world.mock->test;
	int ret;

	if (++world.queue_allocs == world.fail_queue_alloc)
		return -ENOMEM;
	kunit_deactivate_static_stub(test, iommu_dma_init_one_fq);
	ret = iommu_dma_init_one_fq(fq, fq_size, node);
	kunit_activate_static_stub(test, iommu_dma_init_one_fq, fail_one_fq);
	return ret;
}

/* No memory for one of the rings: the last one when the others have it */
static void fail_each_ring(struct kunit *test, unsigned int rings)
{
	struct state before;

	forget_events();
	before = look();
	for (unsigned int ring = 1; ring <= rings; ring++) {
		world.queue_allocs = 0;
		world.fail_queue_alloc = ring;
		KUNIT_EXPECT_EQ(test, write_type("DMA-FQ"), -ENOMEM);
		KUNIT_EXPECT_EQ(test, world.queue_allocs, ring);
		expect_same(test, &before);
		unmap(world.mdev[0], map(test, world.mdev[0]));
		expect_flushed(test);
	}
	world.fail_queue_alloc = 0;
}

static void test_no_queue(struct kunit *test)
{
	const struct queue *queue = test->param_value;
	unsigned int rings = queue->single ? 1 : num_possible_cpus();

	create_queue_group(test);
	/* This domain never had a queue */
	change_type(test, "identity");
	change_type(test, "DMA");
	kunit_activate_static_stub(test, iommu_dma_init_one_fq, fail_one_fq);

	/* The second time it had one, whose entries are gone */
	for (int round = 0; round < 2; round++) {
		fail_each_ring(test, rings);
		world.queue_allocs = 0;
		change_type(test, "DMA-FQ");
		KUNIT_EXPECT_EQ(test, world.queue_allocs, rings);
		expect_type(test, "DMA-FQ", DMA_FQ);
		map_some(test, 8);
		unmap_some(8);
		change_type(test, "DMA");
		expect_flushed(test);
	}
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
	KUNIT_CASE(test_direct),
	KUNIT_CASE(test_direct_overlap),
	KUNIT_CASE(test_direct_at_zero),
	KUNIT_CASE(test_doorbells),
	KUNIT_CASE(test_doorbells_overlap),
	KUNIT_CASE(test_doorbells_nowhere),
	KUNIT_CASE(test_join_fails),
	KUNIT_CASE(test_join_identity),
	KUNIT_CASE(test_join_owned),
	KUNIT_CASE(test_used_by_driver),
	KUNIT_CASE(test_used_by_owner),
	KUNIT_CASE(test_used_by_other_domain),
	KUNIT_CASE(test_used_by_interrupts),
	KUNIT_CASE(test_used_until_released),
	KUNIT_CASE(test_used_until_probe_undone),
	KUNIT_CASE_PARAM(test_stop_flushes, queues_gen_params),
	KUNIT_CASE_PARAM(test_stop_during_unmap, queues_gen_params),
	KUNIT_CASE_PARAM(test_restart_during_unmap, queues_gen_params),
	KUNIT_CASE_PARAM(test_start_during_unmap, queues_gen_params),
	KUNIT_CASE_PARAM(test_on_and_off, queues_gen_params),
	KUNIT_CASE_PARAM(test_full_queue, queues_gen_params),
	KUNIT_CASE_PARAM(test_free_queued, queues_gen_params),
	KUNIT_CASE_PARAM(test_no_queue, queues_gen_params),
	{}
};

static struct kunit_suite type_change_suite = {
	.name = "iommu_type_change",
	.test_cases = type_change_cases,
};

kunit_test_suite(type_change_suite);
