// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests for VT-d's paging domains: what they are allocated with, which
 * devices they can be attached to, and what a refused or failed attach leaves.
 *
 * The IOMMUs exist only in memory. Their capability registers are made up, and
 * without an invalidation queue the driver waits for nothing.
 */
#include <kunit/device.h>
#include <kunit/test.h>
#include <linux/bitmap.h>
#include <linux/iommu.h>
#include <uapi/linux/iommufd.h>

#include "../intel/iommu.h"
#include "../intel/pasid.h"
#include "../iommu-pages.h"

/* SAGAW */
#define W39	BIT(1)
#define W48	BIT(2)
#define W57	BIT(3)

/* The number of IDs that ND = 0 stands for */
#define VTD_TEST_IDS	16
#define VTD_TEST_PASID	5

struct vtd_hw {
	const char *name;
	u8 mgaw;
	u8 sagaw;
	u8 pages;		/* SLLPS: second-stage large pages */
	unsigned int sm:1;
	unsigned int first:1;
	unsigned int second:1;
	unsigned int first_57:1;
	unsigned int first_1g:1;
	unsigned int walk_no_snoop:1;
	unsigned int no_snoop_control:1;
	unsigned int no_pass_through:1;
	unsigned int dirty:1;
	unsigned int nest:1;
	unsigned int supervisor:1;
	unsigned int eaf:1;
};

enum vtd_hw_id {
	L48, L39, L48_ONLY, L57, L57_ONLY, L48_46, L48_2M, L48_4K, L48_512G,
	L48_WALK, L48_SC, L48_PT,
	S2, S2_WALK, S2_DIRTY, S1, S1_57, S12, S12_57, S12_1G, S12_WALK, S12_SC,
	S12_DIRTY, S12_NEST, S12_NEST_57,
};

#define LEGACY(_mgaw, _sagaw, _pages, ...)				\
	{ .mgaw = _mgaw, .sagaw = _sagaw, .pages = _pages, ##__VA_ARGS__ }
#define SCALABLE(_mgaw, _sagaw, ...)					\
	{ .sm = 1, .mgaw = _mgaw, .sagaw = _sagaw, .pages = 3, ##__VA_ARGS__ }
#define BOTH	.first = 1, .second = 1, .first_1g = 1

static const struct vtd_hw vtd_hw[] = {
	[L48]		= LEGACY(48, W39 | W48, 3, .name = "L48"),
	[L39]		= LEGACY(39, W39, 3, .name = "L39"),
	[L48_ONLY]	= LEGACY(48, W48, 3, .name = "L48 only"),
	[L57]		= LEGACY(57, W39 | W48 | W57, 3, .name = "L57"),
	[L57_ONLY]	= LEGACY(57, W57, 3, .name = "L57 only"),
	[L48_46]	= LEGACY(46, W39 | W48, 3, .name = "L48, 46 bits"),
	[L48_2M]	= LEGACY(48, W39 | W48, 1, .name = "L48, 2M"),
	[L48_4K]	= LEGACY(48, W39 | W48, 0, .name = "L48, 4K"),
	[L48_512G]	= LEGACY(48, W39 | W48, 7, .name = "L48, 512G"),
	[L48_WALK]	= LEGACY(48, W39 | W48, 3, .name = "L48, not coherent",
				 .walk_no_snoop = 1),
	[L48_SC]	= LEGACY(48, W39 | W48, 3, .name = "L48, no snoop ctl",
				 .no_snoop_control = 1),
	[L48_PT]	= LEGACY(48, W39 | W48, 3, .name = "L48, no pass-thru",
				 .no_pass_through = 1),
	[S2]		= SCALABLE(48, W39 | W48, .name = "S2", .second = 1),
	[S2_WALK]	= SCALABLE(48, W39 | W48, .name = "S2, not coherent",
				   .second = 1, .walk_no_snoop = 1),
	[S2_DIRTY]	= SCALABLE(48, W39 | W48, .name = "S2, dirty",
				   .second = 1, .dirty = 1),
	[S1]		= SCALABLE(48, 0, .name = "S1", .first = 1,
				   .first_1g = 1),
	[S1_57]		= SCALABLE(57, 0, .name = "S1 57", .first = 1,
				   .first_1g = 1, .first_57 = 1),
	[S12]		= SCALABLE(48, W39 | W48, .name = "S12", BOTH),
	[S12_57]	= SCALABLE(57, W48 | W57, .name = "S12 57", BOTH,
				   .first_57 = 1),
	[S12_1G]	= SCALABLE(48, W48, .name = "S12, no first 1G",
				   .first = 1, .second = 1),
	[S12_WALK]	= SCALABLE(48, W48, .name = "S12, not coherent", BOTH,
				   .walk_no_snoop = 1),
	[S12_SC]	= SCALABLE(48, W48, .name = "S12, no snoop ctl", BOTH,
				   .no_snoop_control = 1),
	[S12_DIRTY]	= SCALABLE(48, W48, .name = "S12, dirty", BOTH,
				   .dirty = 1),
	[S12_NEST]	= SCALABLE(48, W48, .name = "S12, nest", BOTH,
				   .nest = 1),
	[S12_NEST_57]	= SCALABLE(57, W48 | W57, .name = "S12 57, nest", BOTH,
				   .nest = 1, .first_57 = 1, .supervisor = 1,
				   .eaf = 1),
};

static u64 vtd_cap(const struct vtd_hw *hw)
{
	return (u64)hw->sagaw << 8 | (u64)(hw->mgaw - 1) << 16 |
	       (u64)hw->pages << 34 | (u64)hw->first_1g << 56 |
	       (u64)hw->first_57 << 60;
}

static u64 vtd_ecap(const struct vtd_hw *hw)
{
	return (u64)!hw->walk_no_snoop | (u64)!hw->walk_no_snoop << 48 |
	       (u64)!hw->no_pass_through << 6 |
	       (u64)!hw->no_snoop_control << 7 | (u64)hw->nest << 26 |
	       (u64)hw->supervisor << 31 | (u64)hw->eaf << 34 |
	       (u64)hw->sm << 40 | (u64)hw->sm << 43 | (u64)hw->dirty << 45 |
	       (u64)hw->second << 46 | (u64)hw->first << 47;
}

/* A device with an IOMMU of its own */
struct vtd_test_dev {
	char name[24];
	struct device *dev;
	struct dev_iommu dev_iommu;
	struct device_domain_info info;
	struct intel_iommu iommu;
	struct pasid_table pasid_table;
};

static int vtd_flushes;
static int vtd_saved_sm, vtd_saved_superpage;
static u64 vtd_saved_sanity;

static void vtd_flush_context(struct intel_iommu *iommu, u16 did, u16 sid,
			      u8 fm, u64 type)
{
	vtd_flushes++;
}

static void vtd_flush_iotlb(struct intel_iommu *iommu, u16 did, u64 addr,
			    unsigned int size_order, u64 type)
{
	vtd_flushes++;
}

static void vtd_free_tables(void *data)
{
	struct vtd_test_dev *vdev = data;
	struct pasid_dir_entry *dir = vdev->pasid_table.table;
	struct root_entry *root = vdev->iommu.root_entry;

	if (root[0].lo & 1)
		iommu_free_page(phys_to_virt(root[0].lo & VTD_PAGE_MASK));
	iommu_free_page(root);

	if (dir) {
		if (get_pasid_table_from_pde(&dir[0]))
			iommu_free_page(get_pasid_table_from_pde(&dir[0]));
		iommu_free_page(dir);
	}
	vdev->dev->iommu = NULL;
}

static struct vtd_test_dev *vtd_dev(struct kunit *test, enum vtd_hw_id id)
{
	const struct vtd_hw *hw = &vtd_hw[id];
	struct vtd_test_dev *vdev;
	struct intel_iommu *iommu;
	static int seq_id;
	int ret;

	vdev = kunit_kzalloc(test, sizeof(*vdev), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, vdev);
	snprintf(vdev->name, sizeof(vdev->name), "vtd-test-%d", ++seq_id);
	vdev->dev = kunit_device_register(test, vdev->name);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, vdev->dev);

	iommu = &vdev->iommu;
	iommu->cap = vtd_cap(hw);
	iommu->ecap = vtd_ecap(hw);
	iommu->seq_id = seq_id;
	iommu->node = NUMA_NO_NODE;
	iommu->flush.flush_context = vtd_flush_context;
	iommu->flush.flush_iotlb = vtd_flush_iotlb;
	spin_lock_init(&iommu->lock);
	raw_spin_lock_init(&iommu->register_lock);
	iommu->domain_ids = kunit_kzalloc(test, sizeof(long), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, iommu->domain_ids);
	/* As iommu_init_domains() does */
	bitmap_set(iommu->domain_ids, 0, NUM_RESERVED_DID);

	vdev->info.dev = vdev->dev;
	vdev->info.iommu = iommu;
	vdev->info.devfn = 8;
	vdev->dev_iommu.priv = &vdev->info;
	vdev->dev->iommu = &vdev->dev_iommu;

	iommu->root_entry = iommu_alloc_page(GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, iommu->root_entry);
	if (hw->sm) {
		vdev->pasid_table.table = iommu_alloc_page(GFP_KERNEL);
		vdev->pasid_table.max_pasid = 1 << (PAGE_SHIFT + 3);
		vdev->info.pasid_table = &vdev->pasid_table;
		vdev->info.pasid_supported = 1;
	}
	ret = kunit_add_action_or_reset(test, vtd_free_tables, vdev);
	KUNIT_ASSERT_EQ(test, 0, ret);
	if (hw->sm)
		KUNIT_ASSERT_NOT_NULL(test, vdev->pasid_table.table);

	intel_iommu_sm = hw->sm;
	iommu->agaw = iommu_calculate_agaw(iommu);
	iommu->msagaw = iommu_calculate_max_sagaw(iommu);
	KUNIT_ASSERT_GE_MSG(test, iommu->agaw, 0, "%s", hw->name);

	return vdev;
}

/* What the core does with what an allocator returns */
static struct dmar_domain *vtd_core_init(struct iommu_domain *domain)
{
	if (IS_ERR(domain))
		return ERR_CAST(domain);
	domain->type = IOMMU_DOMAIN_UNMANAGED;
	domain->owner = &intel_iommu_ops;
	domain->ops = intel_iommu_ops.default_domain_ops;
	return to_dmar_domain(domain);
}

static struct dmar_domain *vtd_domain(struct kunit *test,
				      struct vtd_test_dev *vdev, bool first)
{
	struct dmar_domain *domain = paging_domain_alloc(vdev->dev, first);

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, domain);
	return vtd_core_init(&domain->domain);
}

/* The first or the second stage, whichever @id would give the DMA API */
static struct dmar_domain *vtd_own_domain(struct kunit *test,
					  struct vtd_test_dev *vdev)
{
	return vtd_domain(test, vdev, sm_supported(&vdev->iommu) &&
				      ecap_flts(vdev->iommu.ecap));
}

static void vtd_free(struct dmar_domain *domain)
{
	domain->domain.ops->free(&domain->domain);
}

static struct dmar_domain *vtd_user_domain(struct vtd_test_dev *vdev, u32 flags)
{
	return vtd_core_init(intel_iommu_ops.domain_alloc_user(vdev->dev, flags,
							       NULL, NULL));
}

static bool vtd_enforce_snooping(struct dmar_domain *domain)
{
	struct iommu_domain *dom = &domain->domain;

	return dom->ops->enforce_cache_coherency(dom);
}

static int vtd_attach(struct vtd_test_dev *vdev, struct dmar_domain *domain)
{
	return domain->domain.ops->attach_dev(&domain->domain, vdev->dev);
}

static int vtd_attach_pasid(struct vtd_test_dev *vdev,
			    struct dmar_domain *domain)
{
	return domain->domain.ops->set_dev_pasid(&domain->domain, vdev->dev,
						 VTD_TEST_PASID, NULL);
}

static void vtd_block(struct vtd_test_dev *vdev)
{
	struct iommu_domain *domain = intel_iommu_ops.blocked_domain;

	domain->ops->attach_dev(domain, vdev->dev);
}

static int vtd_identity(struct vtd_test_dev *vdev)
{
	struct iommu_domain *domain = intel_iommu_ops.identity_domain;

	return domain->ops->attach_dev(domain, vdev->dev);
}

/* The entry that translates the device's DMA without PASID: 64 or 16 bytes */
static void *vtd_entry(struct vtd_test_dev *vdev)
{
	struct pasid_dir_entry *dir = vdev->pasid_table.table;

	if (dir)
		return get_pasid_table_from_pde(&dir[0]);
	return iommu_context_addr(&vdev->iommu, vdev->info.bus,
				  vdev->info.devfn, true);
}

static u64 vtd_page_table(struct vtd_test_dev *vdev)
{
	u64 *entry = vtd_entry(vdev);

	/* Scalable mode has the first stage's in the third word */
	if (vdev->pasid_table.table &&
	    pasid_pte_get_pgtt(vtd_entry(vdev)) == PASID_ENTRY_PGTT_FL_ONLY)
		return entry[2] & VTD_PAGE_MASK;
	return entry[0] & VTD_PAGE_MASK;
}

static void vtd_expect_on(struct kunit *test, struct vtd_test_dev *vdev,
			  struct dmar_domain *domain, const char *what)
{
	u64 *entry = vtd_entry(vdev);

	KUNIT_EXPECT_PTR_EQ_MSG(test, vdev->info.domain, domain, "%s", what);
	KUNIT_ASSERT_NOT_NULL(test, entry);
	KUNIT_EXPECT_TRUE_MSG(test, entry[0] & 1, "%s", what);
	KUNIT_EXPECT_EQ_MSG(test, vtd_page_table(vdev),
			    virt_to_phys(domain->pgd), "%s", what);
}

struct vtd_snapshot {
	struct vtd_test_dev vdev;
	struct dmar_domain domain, old;
	unsigned long ids;
	u64 entry[8];
	u8 pgd[SZ_4K];
	int flushes;
};

static void vtd_snap(struct vtd_snapshot *snap, struct vtd_test_dev *vdev,
		     struct dmar_domain *domain, struct dmar_domain *old)
{
	memset(snap, 0, sizeof(*snap));
	memcpy(&snap->vdev, vdev, sizeof(*vdev));
	memcpy(&snap->domain, domain, sizeof(*domain));
	memcpy(&snap->old, old, sizeof(*old));
	snap->ids = *vdev->iommu.domain_ids;
	memcpy(snap->entry, vtd_entry(vdev), vdev->pasid_table.table ? 64 : 16);
	memcpy(snap->pgd, domain->pgd, SZ_4K);
	snap->flushes = vtd_flushes;
}

/* Which capability a domain is to have used before it is attached elsewhere */
enum vtd_use { PLAIN, SNOOP, DIRTY, PARENT };

static const struct vtd_pair {
	enum vtd_hw_id from;
	bool first;
	enum vtd_use use;
	enum vtd_hw_id to;
	bool ok;
} vtd_pairs[] = {
	/* The same hardware */
	{ L48, 0, PLAIN, L48, true },
	{ L39, 0, PLAIN, L39, true },
	{ L57, 0, PLAIN, L57, true },
	{ S2, 0, PLAIN, S2, true },
	{ S1, 1, PLAIN, S1, true },
	{ S12, 0, PLAIN, S12, true },
	{ S12, 1, PLAIN, S12, true },
	{ S12_57, 1, PLAIN, S12_57, true },
	/* One IOMMU in legacy mode, the other in scalable mode */
	{ S12, 0, PLAIN, L48, true },
	{ S12, 1, PLAIN, L48, false },
	{ L48, 0, PLAIN, S12, true },
	{ L48, 0, PLAIN, S1, false },
	/* Levels and width */
	{ L39, 0, PLAIN, L48, true },
	{ L48, 0, PLAIN, L39, false },
	{ L39, 0, PLAIN, L48_ONLY, false },
	{ L48, 0, PLAIN, L57, true },
	{ L57, 0, PLAIN, L48, false },
	{ L48, 0, PLAIN, L57_ONLY, false },
	{ L57_ONLY, 0, PLAIN, L57, true },
	{ L57, 0, PLAIN, L57_ONLY, true },
	{ L48, 0, PLAIN, L48_46, false },
	{ L48_46, 0, PLAIN, L48, true },
	{ S1, 1, PLAIN, S1_57, true },
	{ S1_57, 1, PLAIN, S1, false },
	{ S12_57, 0, PLAIN, S12, false },
	{ S12, 0, PLAIN, S12_57, true },
	{ S12_57, 1, PLAIN, S12, false },
	/* Page sizes */
	{ L48, 0, PLAIN, L48_2M, false },
	{ L48_2M, 0, PLAIN, L48, true },
	{ L48_2M, 0, PLAIN, L48_4K, false },
	{ L48_4K, 0, PLAIN, L48_2M, true },
	{ L48_512G, 0, PLAIN, L48, true },
	{ L48, 0, PLAIN, L48_512G, true },
	{ S12, 1, PLAIN, S12_1G, false },
	{ S12_1G, 1, PLAIN, S12, true },
	{ S12, 0, PLAIN, S12_1G, true },
	/* Coherency */
	{ L48, 0, PLAIN, L48_WALK, false },
	{ L48_WALK, 0, PLAIN, L48, true },
	{ S2, 0, PLAIN, S2_WALK, false },
	{ S2_WALK, 0, PLAIN, S2, true },
	{ S12, 1, PLAIN, S12_WALK, false },
	{ S12_WALK, 1, PLAIN, S12, true },
	/* Stage */
	{ S12, 1, PLAIN, S2, false },
	{ S2, 0, PLAIN, S12, true },
	{ S12, 0, PLAIN, S1, false },
	{ S1, 1, PLAIN, S12, true },
	{ S1, 1, PLAIN, S2, false },
	{ S2, 0, PLAIN, S1, false },
	/* Snooping */
	{ L48, 0, SNOOP, L48_SC, false },
	{ L48, 0, PLAIN, L48_SC, true },
	{ L48_SC, 0, PLAIN, L48, true },
	{ S12, 1, SNOOP, S12_SC, false },
	{ S12, 0, SNOOP, S12_SC, false },
	{ S12, 1, PLAIN, S12_SC, true },
	{ S12_SC, 1, PLAIN, S12, true },
	{ S12, 1, SNOOP, S12, true },
	/* Dirty tracking */
	{ S12_DIRTY, 0, DIRTY, S12_DIRTY, true },
	{ S12_DIRTY, 0, DIRTY, S12, false },
	{ S12_DIRTY, 0, PLAIN, S12, true },
	{ S12, 0, PLAIN, S12_DIRTY, true },
	{ S2_DIRTY, 0, DIRTY, S2, false },
	{ S2_DIRTY, 0, DIRTY, S12_DIRTY, true },
	/* A parent is any second stage */
	{ S12_NEST, 0, PARENT, S12_NEST, true },
	{ S12_NEST, 0, PARENT, S12, true },
	{ S12_NEST, 0, PARENT, S1, false },
	{ S12_NEST_57, 0, PARENT, S12_NEST, false },
	{ S12, 0, PLAIN, S12_NEST, true },
};

static void vtd_pair_desc(const struct vtd_pair *pair, char *desc)
{
	static const char * const use[] = {
		"", ", snooping", ", dirty tracking", ", parent",
	};

	snprintf(desc, KUNIT_PARAM_DESC_SIZE, "stage %d of %s%s on %s",
		 pair->first ? 1 : 2, vtd_hw[pair->from].name, use[pair->use],
		 vtd_hw[pair->to].name);
}

KUNIT_ARRAY_PARAM(vtd_pair, vtd_pairs, vtd_pair_desc);

static struct dmar_domain *vtd_used_domain(struct kunit *test,
					   struct vtd_test_dev *vdev,
					   const struct vtd_pair *pair)
{
	struct dmar_domain *domain;
	u32 flags;

	if (pair->use == DIRTY || pair->use == PARENT) {
		flags = pair->use == DIRTY ? IOMMU_HWPT_ALLOC_DIRTY_TRACKING :
					     IOMMU_HWPT_ALLOC_NEST_PARENT;
		domain = vtd_user_domain(vdev, flags);
		KUNIT_ASSERT_NOT_ERR_OR_NULL(test, domain);
		return domain;
	}

	domain = vtd_domain(test, vdev, pair->first);
	if (pair->use == SNOOP)
		KUNIT_EXPECT_TRUE(test, vtd_enforce_snooping(domain));
	return domain;
}

/* A domain fits or is refused; refused, nothing has changed, to the bit */
static void vtd_test_pairs(struct kunit *test)
{
	const struct vtd_pair *pair = test->param_value;
	struct vtd_snapshot *before, *after;
	struct vtd_test_dev *from, *to;
	struct dmar_domain *domain, *old;
	int ret;

	before = kunit_kzalloc(test, sizeof(*before), GFP_KERNEL);
	after = kunit_kzalloc(test, sizeof(*after), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, before);
	KUNIT_ASSERT_NOT_NULL(test, after);

	from = vtd_dev(test, pair->from);
	domain = vtd_used_domain(test, from, pair);
	to = vtd_dev(test, pair->to);
	old = vtd_own_domain(test, to);
	KUNIT_ASSERT_EQ(test, 0, vtd_attach(to, old));
	vtd_expect_on(test, to, old, "old domain");

	vtd_snap(before, to, domain, old);
	KUNIT_EXPECT_EQ(test, paging_domain_compatible(&domain->domain, to->dev),
			pair->ok ? 0 : -EINVAL);
	vtd_snap(after, to, domain, old);
	KUNIT_EXPECT_MEMEQ(test, before, after, sizeof(*before));

	ret = vtd_attach(to, domain);
	KUNIT_EXPECT_EQ(test, ret, pair->ok ? 0 : -EINVAL);
	if (pair->ok) {
		vtd_expect_on(test, to, domain, "new domain");
		/* And back */
		KUNIT_EXPECT_EQ(test, 0, vtd_attach(to, old));
		vtd_expect_on(test, to, old, "old domain again");
		KUNIT_EXPECT_TRUE(test, list_empty(&domain->devices));
		KUNIT_EXPECT_TRUE(test, list_empty(&domain->cache_tags));
	} else {
		vtd_snap(after, to, domain, old);
		KUNIT_EXPECT_MEMEQ(test, before, after, sizeof(*before));
		if (to->pasid_table.table)
			KUNIT_EXPECT_EQ(test, -EINVAL,
					vtd_attach_pasid(to, domain));
		vtd_snap(after, to, domain, old);
		KUNIT_EXPECT_MEMEQ(test, before, after, sizeof(*before));
	}

	vtd_block(to);
	KUNIT_EXPECT_EQ(test, bitmap_weight(to->iommu.domain_ids, VTD_TEST_IDS),
			NUM_RESERVED_DID);
	vtd_free(domain);
	vtd_free(old);
}

/* What a domain has is what its device's IOMMU has */
static void vtd_test_alloc(struct kunit *test)
{
	static const struct {
		enum vtd_hw_id hw;
		bool first;
		int gaw, agaw, end;
		unsigned long pages;
		bool coherent, snoop;
	} cases[] = {
		{ L48, 0, 48, 2, 48, SZ_4K | SZ_2M | SZ_1G, 1, 1 },
		{ L39, 0, 39, 1, 39, SZ_4K | SZ_2M | SZ_1G, 1, 1 },
		{ L57, 0, 57, 3, 57, SZ_4K | SZ_2M | SZ_1G, 1, 1 },
		{ L48_46, 0, 46, 2, 46, SZ_4K | SZ_2M | SZ_1G, 1, 1 },
		{ L48_2M, 0, 48, 2, 48, SZ_4K | SZ_2M, 1, 1 },
		{ L48_4K, 0, 48, 2, 48, SZ_4K, 1, 1 },
		{ L48_512G, 0, 48, 2, 48, SZ_4K | SZ_2M | SZ_1G, 1, 1 },
		{ L48_WALK, 0, 48, 2, 48, SZ_4K | SZ_2M | SZ_1G, 0, 1 },
		{ L48_SC, 0, 48, 2, 48, SZ_4K | SZ_2M | SZ_1G, 1, 0 },
		{ S1, 1, 48, 2, 47, SZ_4K | SZ_2M | SZ_1G, 1, 1 },
		{ S1_57, 1, 57, 3, 56, SZ_4K | SZ_2M | SZ_1G, 1, 1 },
		{ S12, 0, 48, 2, 48, SZ_4K | SZ_2M | SZ_1G, 1, 1 },
		{ S12_1G, 1, 48, 2, 47, SZ_4K | SZ_2M, 1, 1 },
		{ S12_1G, 0, 48, 2, 48, SZ_4K | SZ_2M | SZ_1G, 1, 1 },
		{ S12_WALK, 1, 48, 2, 47, SZ_4K | SZ_2M | SZ_1G, 0, 1 },
	};
	const char *name;
	struct dmar_domain *domain;
	struct vtd_test_dev *vdev;
	int i;

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		name = vtd_hw[cases[i].hw].name;
		vdev = vtd_dev(test, cases[i].hw);
		domain = vtd_domain(test, vdev, cases[i].first);

		KUNIT_EXPECT_EQ_MSG(test, domain->gaw, cases[i].gaw, "%s", name);
		KUNIT_EXPECT_EQ_MSG(test, domain->agaw, cases[i].agaw, "%s",
				    name);
		KUNIT_EXPECT_EQ_MSG(test, domain->domain.pgsize_bitmap,
				    cases[i].pages, "%s", name);
		KUNIT_EXPECT_EQ_MSG(test, !!domain->iommu_coherency,
				    cases[i].coherent, "%s", name);
		KUNIT_EXPECT_EQ_MSG(test, domain->nid, dev_to_node(vdev->dev),
				    "%s", name);
		KUNIT_EXPECT_TRUE(test, domain->domain.geometry.force_aperture);
		/* The end is that of the last page */
		KUNIT_EXPECT_EQ_MSG(test,
				    domain->domain.geometry.aperture_end >>
					(cases[i].end - 1), 1ULL, "%s", name);
		/* Nothing is attached: it is for the device it was made for */
		KUNIT_EXPECT_EQ_MSG(test, vtd_enforce_snooping(domain),
				    cases[i].snoop, "%s", name);
		vtd_free(domain);
	}
}

static void vtd_test_sp_off(struct kunit *test)
{
	struct vtd_test_dev *vdev = vtd_dev(test, S12);
	struct dmar_domain *large, *small;

	large = vtd_domain(test, vdev, false);
	intel_iommu_superpage = 0;
	small = vtd_domain(test, vdev, false);
	KUNIT_EXPECT_EQ(test, small->domain.pgsize_bitmap, SZ_4K);
	KUNIT_EXPECT_EQ(test, small->iommu_superpage, 0);
	KUNIT_EXPECT_EQ(test, 0,
			paging_domain_compatible(&small->domain, vdev->dev));
	KUNIT_EXPECT_EQ(test, -EINVAL,
			paging_domain_compatible(&large->domain, vdev->dev));
	vtd_free(small);
	small = vtd_domain(test, vdev, true);
	KUNIT_EXPECT_EQ(test, small->domain.pgsize_bitmap, SZ_4K);
	vtd_free(small);
	vtd_free(large);
}

/* Who gets which stage, and which flags are refused */
static void vtd_test_stage(struct kunit *test)
{
	static const struct {
		enum vtd_hw_id hw;
		bool dma, user;
	} cases[] = {
		{ L48, 0, 0 }, { S2, 0, 0 }, { S1, 1, 1 }, { S12, 1, 0 },
		{ S12_NEST, 1, 0 }, { S12_DIRTY, 1, 0 },
	};
	static const u32 flags[] = {
		IOMMU_HWPT_ALLOC_DIRTY_TRACKING, IOMMU_HWPT_ALLOC_NEST_PARENT,
		BIT(31),
	};
	struct iommu_domain *paging;
	struct dmar_domain *domain;
	struct vtd_test_dev *vdev;
	bool ok;
	int i, f;

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		const struct vtd_hw *hw = &vtd_hw[cases[i].hw];

		vdev = vtd_dev(test, cases[i].hw);
		intel_iommu_ecap_sanity = vdev->iommu.ecap;

		paging = intel_iommu_ops.domain_alloc_paging(vdev->dev);
		domain = vtd_core_init(paging);
		KUNIT_ASSERT_NOT_ERR_OR_NULL(test, domain);
		KUNIT_EXPECT_EQ_MSG(test, !!domain->use_first_level,
				    cases[i].dma, "%s", hw->name);
		vtd_free(domain);

		domain = vtd_user_domain(vdev, 0);
		KUNIT_ASSERT_NOT_ERR_OR_NULL(test, domain);
		KUNIT_EXPECT_EQ_MSG(test, !!domain->use_first_level,
				    cases[i].user, "%s", hw->name);
		vtd_free(domain);

		for (f = 0; f < ARRAY_SIZE(flags); f++) {
			ok = (f == 0 && hw->dirty) || (f == 1 && hw->nest);
			domain = vtd_user_domain(vdev, flags[f]);
			KUNIT_EXPECT_EQ_MSG(test, PTR_ERR_OR_ZERO(domain),
					    ok ? 0 : -EOPNOTSUPP, "%s, flag %d",
					    hw->name, f);
			if (!IS_ERR(domain))
				vtd_free(domain);
		}
	}
}

/* A stage-1 domain is checked together with its parent */
static void vtd_test_nested(struct kunit *test)
{
	static const struct {
		enum vtd_hw_id parent, to;
		u32 width, flags;
		int ret;
	} cases[] = {
		{ S12_NEST, S12_NEST, ADDR_WIDTH_4LEVEL, 0, 0 },
		{ S12_NEST, S12, ADDR_WIDTH_4LEVEL, 0, -EINVAL },
		{ S12_NEST, S12_NEST, ADDR_WIDTH_5LEVEL, 0, -EINVAL },
		{ S12_NEST, S12_NEST, 39, 0, -EINVAL },
		{ S12_NEST, S12_NEST_57, ADDR_WIDTH_5LEVEL, 0, 0 },
		{ S12_NEST_57, S12_NEST, ADDR_WIDTH_4LEVEL, 0, -EINVAL },
		{ S12_NEST, S12_NEST, ADDR_WIDTH_4LEVEL,
		  IOMMU_VTD_S1_SRE, -EINVAL },
		{ S12_NEST, S12_NEST_57, ADDR_WIDTH_4LEVEL,
		  IOMMU_VTD_S1_SRE, 0 },
		{ S12_NEST, S12_NEST, ADDR_WIDTH_4LEVEL,
		  IOMMU_VTD_S1_EAFE, -EINVAL },
		{ S12_NEST, S12_NEST_57, ADDR_WIDTH_4LEVEL,
		  IOMMU_VTD_S1_EAFE, 0 },
	};
	struct dmar_domain *parent, *s1;
	struct vtd_test_dev *from, *to;
	int i;

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		from = vtd_dev(test, cases[i].parent);
		parent = vtd_user_domain(from, IOMMU_HWPT_ALLOC_NEST_PARENT);
		KUNIT_ASSERT_NOT_ERR_OR_NULL(test, parent);
		to = vtd_dev(test, cases[i].to);

		s1 = kunit_kzalloc(test, sizeof(*s1), GFP_KERNEL);
		KUNIT_ASSERT_NOT_NULL(test, s1);
		s1->s2_domain = parent;
		s1->s1_cfg.addr_width = cases[i].width;
		s1->s1_cfg.flags = cases[i].flags;
		KUNIT_EXPECT_EQ_MSG(test, nested_domain_compatible(s1, to->dev),
				    cases[i].ret, "case %d", i);
		vtd_free(parent);
	}
}

static void vtd_test_identity(struct kunit *test)
{
	struct vtd_snapshot *before, *after;
	struct dmar_domain *old;
	struct vtd_test_dev *vdev;

	before = kunit_kzalloc(test, sizeof(*before), GFP_KERNEL);
	after = kunit_kzalloc(test, sizeof(*after), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, before);
	KUNIT_ASSERT_NOT_NULL(test, after);

	vdev = vtd_dev(test, L48_PT);
	old = vtd_own_domain(test, vdev);
	KUNIT_ASSERT_EQ(test, 0, vtd_attach(vdev, old));
	vtd_snap(before, vdev, old, old);
	KUNIT_EXPECT_EQ(test, -EINVAL, vtd_identity(vdev));
	vtd_snap(after, vdev, old, old);
	KUNIT_EXPECT_MEMEQ(test, before, after, sizeof(*before));
	vtd_block(vdev);
	vtd_free(old);

	vdev = vtd_dev(test, L48);
	old = vtd_own_domain(test, vdev);
	KUNIT_ASSERT_EQ(test, 0, vtd_attach(vdev, old));
	KUNIT_EXPECT_EQ(test, 0, vtd_identity(vdev));
	KUNIT_EXPECT_NULL(test, vdev->info.domain);
	KUNIT_EXPECT_TRUE(test, vdev->info.domain_attached);

	/* Once more changes nothing */
	vtd_snap(before, vdev, old, old);
	KUNIT_EXPECT_EQ(test, 0, vtd_identity(vdev));
	vtd_snap(after, vdev, old, old);
	KUNIT_EXPECT_MEMEQ(test, before, after, sizeof(*before));

	KUNIT_EXPECT_EQ(test, 0, vtd_attach(vdev, old));
	vtd_expect_on(test, vdev, old, "back from identity");
	vtd_block(vdev);
	vtd_free(old);
}

/* An attach that fails for want of an ID leaves the device where it was */
static void vtd_test_no_id(struct kunit *test)
{
	static const enum vtd_hw_id hw[] = { L48, L48_WALK, S2, S12, S12_WALK };
	struct dmar_domain *domain, *old;
	struct vtd_test_dev *vdev;
	unsigned long ids;
	u64 entry[8];
	int i, size;

	for (i = 0; i < ARRAY_SIZE(hw); i++) {
		vdev = vtd_dev(test, hw[i]);
		size = vdev->pasid_table.table ? 64 : 16;
		old = vtd_own_domain(test, vdev);
		domain = vtd_own_domain(test, vdev);
		KUNIT_ASSERT_EQ(test, 0, vtd_attach(vdev, old));
		memcpy(entry, vtd_entry(vdev), size);

		ids = *vdev->iommu.domain_ids;
		bitmap_fill(vdev->iommu.domain_ids, VTD_TEST_IDS);
		vtd_flushes = 0;
		KUNIT_EXPECT_EQ(test, -ENOSPC, vtd_attach(vdev, domain));
		KUNIT_EXPECT_EQ(test, 0, vtd_flushes);
		KUNIT_EXPECT_MEMEQ(test, entry, vtd_entry(vdev), size);
		vtd_expect_on(test, vdev, old, vtd_hw[hw[i]].name);
		KUNIT_EXPECT_TRUE(test, list_is_singular(&old->devices));
		KUNIT_EXPECT_TRUE(test, list_is_singular(&old->cache_tags));
		KUNIT_EXPECT_TRUE(test, list_empty(&domain->devices));
		KUNIT_EXPECT_TRUE(test, list_empty(&domain->cache_tags));

		/* The core attaches the old one again: nothing is needed */
		KUNIT_EXPECT_EQ(test, 0, vtd_attach(vdev, old));
		KUNIT_EXPECT_EQ(test, 0, vtd_flushes);
		KUNIT_EXPECT_MEMEQ(test, entry, vtd_entry(vdev), size);

		if (vdev->pasid_table.table) {
			struct pasid_entry *pte = vtd_entry(vdev);

			KUNIT_EXPECT_EQ(test, -ENOSPC,
					vtd_attach_pasid(vdev, domain));
			pte += VTD_TEST_PASID;
			KUNIT_EXPECT_FALSE(test, pasid_pte_is_present(pte));
			KUNIT_EXPECT_TRUE(test, list_empty(&domain->dev_pasids));
			KUNIT_EXPECT_TRUE(test, list_empty(&domain->cache_tags));
		}

		*vdev->iommu.domain_ids = ids;
		KUNIT_EXPECT_EQ(test, 0, vtd_attach(vdev, domain));
		vtd_expect_on(test, vdev, domain, vtd_hw[hw[i]].name);
		vtd_block(vdev);
		vtd_free(domain);
		vtd_free(old);
	}
}

/* What a domain needs on an IOMMU is there for a device that comes back */
static void vtd_test_way_back(struct kunit *test)
{
	static const enum vtd_hw_id hw[] = { L48, S12 };
	struct iommu_domain_info *record;
	struct dmar_domain *domain, *old;
	struct vtd_test_dev *vdev;
	struct cache_tag *tag;
	void *batch;
	int i;

	for (i = 0; i < ARRAY_SIZE(hw); i++) {
		vdev = vtd_dev(test, hw[i]);
		vdev->info.ats_supported = 1;
		old = vtd_own_domain(test, vdev);
		domain = vtd_own_domain(test, vdev);
		KUNIT_ASSERT_EQ(test, 0, vtd_attach(vdev, old));
		/* One for the IOTLB, one for the device's */
		KUNIT_EXPECT_EQ(test, 2, list_count_nodes(&old->cache_tags));
		record = xa_load(&old->iommu_array, vdev->iommu.seq_id);
		KUNIT_ASSERT_NOT_NULL(test, record);
		tag = list_first_entry(&old->cache_tags, struct cache_tag, node);
		batch = old->qi_batch;
		KUNIT_EXPECT_NOT_NULL(test, batch);

		KUNIT_ASSERT_EQ(test, 0, vtd_attach(vdev, domain));
		KUNIT_EXPECT_EQ(test, 0, record->refcnt);
		KUNIT_EXPECT_EQ(test, 0, list_count_nodes(&old->cache_tags));
		KUNIT_EXPECT_EQ(test, 2, list_count_nodes(&old->spare_tags));
		KUNIT_EXPECT_PTR_EQ(test, record, xa_load(&old->iommu_array,
							  vdev->iommu.seq_id));

		KUNIT_ASSERT_EQ(test, 0, vtd_attach(vdev, old));
		KUNIT_EXPECT_EQ(test, 1, record->refcnt);
		KUNIT_EXPECT_PTR_EQ(test, record, xa_load(&old->iommu_array,
							  vdev->iommu.seq_id));
		KUNIT_EXPECT_EQ(test, 2, list_count_nodes(&old->cache_tags));
		KUNIT_EXPECT_TRUE(test, list_empty(&old->spare_tags));
		KUNIT_EXPECT_EQ(test, 1, tag->users);
		KUNIT_EXPECT_PTR_EQ(test, batch, old->qi_batch);

		vtd_block(vdev);
		vtd_free(domain);
		vtd_free(old);
	}
}

static int vtd_test_init(struct kunit *test)
{
	vtd_saved_sm = intel_iommu_sm;
	vtd_saved_superpage = intel_iommu_superpage;
	vtd_saved_sanity = intel_iommu_ecap_sanity;
	/* The tests switch modes, which real IOMMUs would follow */
	if (intel_iommu_enabled)
		kunit_skip(test, "VT-d is in use on this machine");
	/* Both stages, unless a test says otherwise */
	intel_iommu_ecap_sanity = vtd_ecap(&vtd_hw[S12]);
	return 0;
}

static void vtd_test_exit(struct kunit *test)
{
	intel_iommu_sm = vtd_saved_sm;
	intel_iommu_superpage = vtd_saved_superpage;
	intel_iommu_ecap_sanity = vtd_saved_sanity;
}

static struct kunit_case vtd_domain_cases[] = {
	KUNIT_CASE_PARAM(vtd_test_pairs, vtd_pair_gen_params),
	KUNIT_CASE(vtd_test_alloc),
	KUNIT_CASE(vtd_test_sp_off),
	KUNIT_CASE(vtd_test_stage),
	KUNIT_CASE(vtd_test_nested),
	KUNIT_CASE(vtd_test_identity),
	KUNIT_CASE(vtd_test_no_id),
	KUNIT_CASE(vtd_test_way_back),
	{}
};

static struct kunit_suite vtd_domain_suite = {
	.name = "vtd_domain",
	.init = vtd_test_init,
	.exit = vtd_test_exit,
	.test_cases = vtd_domain_cases,
};

kunit_test_suite(vtd_domain_suite);

MODULE_DESCRIPTION("KUnit tests for VT-d's paging domains");
MODULE_LICENSE("GPL");
