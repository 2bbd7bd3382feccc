// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests for VT-d's paging domains: what they are allocated with, which
 * devices they can be attached to, and what a refused or failed attach leaves.
 *
 * The IOMMUs exist only in memory. Their capability registers are made up, and
 * what the driver wants to have invalidated is only counted. What an attach
 * allocates, but for the nodes of xarrays, comes from functions here, which can
 * be told to fail.
 */
#include <kunit/device.h>
#include <kunit/static_stub.h>
#include <kunit/test.h>
#include <linux/bitmap.h>
#include <linux/iommu.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
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
/* Its entry is in another table than that of DMA without PASID */
#define VTD_FAR_PASID	20000
/* Where the guest's page table of a nested domain is */
#define VTD_TEST_S1	0x123456000ULL

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
	unsigned int caching:1;
	unsigned int write_buffer:1;
	unsigned int no_pasid:1;
};

enum vtd_hw_id {
	L48, L39, L48_ONLY, L57, L57_ONLY, L48_46, L48_2M, L48_4K, L48_512G,
	L48_WALK, L48_SC, L48_PT, L48_CM, L48_RWBF,
	S2, S2_WALK, S2_DIRTY, S1, S1_57, S12, S12_57, S12_1G, S12_WALK, S12_SC,
	S12_DIRTY, S12_NEST, S12_NEST_57, S12_NEST_DIRTY, S12_NEST_CM, S12_PT,
	S12_NO_PASID,
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
	[L48_CM]	= LEGACY(48, W39 | W48, 3, .name = "L48, caching",
				 .caching = 1),
	[L48_RWBF]	= LEGACY(48, W39 | W48, 3, .name = "L48, write buffer",
				 .write_buffer = 1),
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
	[S12_NEST_DIRTY] = SCALABLE(48, W48, .name = "S12, nest, dirty", BOTH,
				    .nest = 1, .dirty = 1),
	[S12_NEST_CM]	= SCALABLE(48, W48, .name = "S12, nest, caching", BOTH,
				   .nest = 1, .caching = 1),
	[S12_PT]	= SCALABLE(48, W48, .name = "S12, no pass-thru", BOTH,
				   .no_pass_through = 1),
	[S12_NO_PASID]	= SCALABLE(48, W48, .name = "S12, no PASIDs", BOTH,
				   .no_pasid = 1),
};

static u64 vtd_cap(const struct vtd_hw *hw)
{
	return (u64)hw->write_buffer << 4 | (u64)hw->caching << 7 |
	       (u64)hw->sagaw << 8 | (u64)(hw->mgaw - 1) << 16 |
	       (u64)hw->pages << 34 | (u64)hw->first_1g << 56 |
	       (u64)hw->first_57 << 60;
}

static u64 vtd_ecap(const struct vtd_hw *hw)
{
	/* With an invalidation queue, or the driver would use registers */
	return (u64)!hw->walk_no_snoop | 1 << 1 |
	       (u64)!hw->walk_no_snoop << 48 |
	       (u64)!hw->no_pass_through << 6 |
	       (u64)!hw->no_snoop_control << 7 | (u64)hw->nest << 26 |
	       (u64)hw->supervisor << 31 | (u64)hw->eaf << 34 |
	       (u64)(hw->sm && !hw->no_pasid) << 40 | (u64)hw->sm << 43 | (u64)hw->dirty << 45 |
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

static int vtd_flushes, vtd_device_tlb_flushes;
static void (*vtd_on_flush)(void);
/* Which allocation fails, counted from 1; none if 0, all if negative */
static int vtd_fail_at, vtd_allocations;
static int vtd_saved_sm, vtd_saved_superpage;
static u64 vtd_saved_sanity;

static void vtd_flushed(void)
{
	vtd_flushes++;
	if (vtd_on_flush)
		vtd_on_flush();
}

static void vtd_flush_context(struct intel_iommu *iommu, u16 did, u16 sid,
			      u8 fm, u64 type)
{
	vtd_flushed();
}

static void vtd_flush_iotlb(struct intel_iommu *iommu, u16 did, u64 addr,
			    unsigned int size_order, u64 type)
{
	vtd_flushed();
}

static int vtd_qi_submit(struct intel_iommu *iommu, struct qi_desc *desc,
			 unsigned int count, unsigned long options)
{
	unsigned int i, type;

	for (i = 0; i < count; i++) {
		type = desc[i].qw0 & GENMASK(3, 0);
		vtd_device_tlb_flushes += type == QI_DIOTLB_TYPE ||
					  type == QI_DEIOTLB_TYPE;
	}
	vtd_flushed();
	return 0;
}

static bool vtd_fails(void)
{
	return ++vtd_allocations == vtd_fail_at || vtd_fail_at < 0;
}

static void *vtd_zalloc(size_t size, gfp_t gfp)
{
	return vtd_fails() ? NULL : kzalloc(size, gfp);
}

static void *vtd_alloc_table(struct intel_iommu *iommu)
{
	return vtd_fails() ? NULL : iommu_alloc_page(GFP_KERNEL);
}

/* Let the nth allocation from now on fail */
static void vtd_set_fault(int nth)
{
	vtd_allocations = 0;
	vtd_fail_at = nth;
}

static void vtd_free_tables(void *data)
{
	struct vtd_test_dev *vdev = data;
	struct pasid_dir_entry *dir = vdev->pasid_table.table;
	struct root_entry *root = vdev->iommu.root_entry;
	int i;

	if (root[0].lo & 1)
		iommu_free_page(phys_to_virt(root[0].lo & VTD_PAGE_MASK));
	iommu_free_page(root);

	if (dir) {
		for (i = 0; i < vdev->pasid_table.max_pasid >> PASID_PDE_SHIFT;
		     i++)
			iommu_free_page(get_pasid_table_from_pde(&dir[i]));
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
	/* Lockdep notes the first use in the lock, which is compared */
	spin_lock(&iommu->lock);
	spin_unlock(&iommu->lock);
	raw_spin_lock_init(&iommu->register_lock);
	/* Where the write buffer is flushed, which is done at once */
	iommu->reg = (void __force __iomem *)kunit_kzalloc(test, SZ_4K,
							   GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, (void __force *)iommu->reg);
	iommu->domain_ids = kunit_kzalloc(test, sizeof(long), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, iommu->domain_ids);
	/* As iommu_init_domains() does */
	bitmap_set(iommu->domain_ids, 0, NUM_RESERVED_DID);

	vdev->info.dev = vdev->dev;
	vdev->info.iommu = iommu;
#ifdef CONFIG_INTEL_IOMMU_DEBUGFS
	/* The driver has a directory here for each PASID, which need not be */
	vdev->info.debugfs_dentry = ERR_PTR(-ENODEV);
#endif
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

/* Whether an entry says that all accesses snoop: PGSNP */
static int vtd_snoops(struct pasid_entry *pte)
{
	return !!(pte->val[1] & BIT_ULL(24));
}

static int vtd_attach(struct vtd_test_dev *vdev, struct dmar_domain *domain)
{
	return domain->domain.ops->attach_dev(&domain->domain, vdev->dev);
}

static int vtd_set_pasid(struct vtd_test_dev *vdev,
			 struct iommu_domain *domain, ioasid_t pasid)
{
	return domain->ops->set_dev_pasid(domain, vdev->dev, pasid, NULL);
}

static int vtd_attach_pasid(struct vtd_test_dev *vdev,
			    struct dmar_domain *domain)
{
	return vtd_set_pasid(vdev, &domain->domain, VTD_TEST_PASID);
}

static void vtd_remove_pasid(struct vtd_test_dev *vdev,
			     struct iommu_domain *domain, ioasid_t pasid)
{
	intel_iommu_ops.remove_dev_pasid(vdev->dev, pasid, domain);
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

static struct pasid_entry *vtd_pasid_entry(struct vtd_test_dev *vdev,
					   ioasid_t pasid)
{
	struct pasid_dir_entry *dir = vdev->pasid_table.table;
	struct pasid_entry *table;

	table = get_pasid_table_from_pde(&dir[pasid >> PASID_PDE_SHIFT]);
	return table ? &table[pasid & PASID_PTE_MASK] : NULL;
}

/* The entry that translates the device's DMA without PASID: 64 or 16 bytes */
static void *vtd_entry(struct vtd_test_dev *vdev)
{
	if (vdev->pasid_table.table)
		return vtd_pasid_entry(vdev, IOMMU_NO_PASID);
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
	/* Without a table there is nothing in it */
	if (vtd_entry(vdev))
		memcpy(snap->entry, vtd_entry(vdev),
		       vdev->pasid_table.table ? 64 : 16);
	memcpy(snap->pgd, domain->pgd, SZ_4K);
	snap->flushes = vtd_flushes;
}

static struct vtd_snapshot *vtd_snapshot(struct kunit *test)
{
	struct vtd_snapshot *snap;

	snap = kunit_kzalloc(test, sizeof(*snap), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, snap);
	return snap;
}

static u16 vtd_did(struct vtd_test_dev *vdev, struct dmar_domain *domain)
{
	return domain_id_iommu(domain, vdev->info.iommu);
}

static int vtd_ids(struct vtd_test_dev *vdev)
{
	return bitmap_weight(vdev->info.iommu->domain_ids, VTD_TEST_IDS);
}

static int vtd_refcnt(struct vtd_test_dev *vdev, struct dmar_domain *domain)
{
	struct iommu_domain_info *record;

	record = xa_load(&domain->iommu_array, vdev->info.iommu->seq_id);
	return record ? record->refcnt : 0;
}

/* How many tags of this kind a domain has */
static int vtd_tags(struct dmar_domain *domain, enum cache_tag_type type,
		    u16 did, ioasid_t pasid)
{
	struct cache_tag *tag;
	int nr = 0;

	list_for_each_entry(tag, &domain->cache_tags, node)
		nr += tag->type == type && tag->domain_id == did &&
		      tag->pasid == pasid;
	return nr;
}

static int vtd_all_tags(struct dmar_domain *domain)
{
	return list_count_nodes(&domain->cache_tags);
}

static int vtd_spares(struct dmar_domain *domain)
{
	return list_count_nodes(&domain->spare_tags);
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
	{ L48, 0, SNOOP, L48, true },
	{ L48, 0, SNOOP, L48_SC, false },
	{ L48, 0, PLAIN, L48_SC, true },
	{ L48_SC, 0, PLAIN, L48, true },
	{ S12, 1, SNOOP, S12_SC, false },
	{ S12, 0, SNOOP, S12, true },
	{ S12, 0, SNOOP, S12_SC, false },
	{ S12, 1, PLAIN, S12_SC, true },
	{ S12_SC, 1, PLAIN, S12, true },
	{ S12_SC, 0, PLAIN, S12, true },
	{ S12, 1, SNOOP, S12, true },
	/* Telling the IOMMU of new mappings */
	{ L48, 0, PLAIN, L48_CM, false },
	{ L48_CM, 0, PLAIN, L48, true },
	{ L48_CM, 0, PLAIN, L48_CM, true },
	{ L48_CM, 0, PLAIN, L48_RWBF, true },
	{ L48, 0, PLAIN, L48_RWBF, false },
	{ L48_RWBF, 0, PLAIN, L48, true },
	{ S12, 0, PLAIN, S12_NEST_CM, false },
	{ S12, 1, PLAIN, S12_NEST_CM, true },
	{ S12_NEST_CM, 0, PLAIN, S12, true },
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
	{ S12_NEST, 0, PARENT, S12_NEST_CM, false },
	{ S12_NEST_CM, 0, PARENT, S12_NEST, true },
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

	before = vtd_snapshot(test);
	after = vtd_snapshot(test);

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
	KUNIT_EXPECT_EQ(test, vtd_ids(to), NUM_RESERVED_DID);
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

/* The tables of a domain, which the test has references to as well */
struct vtd_held {
	struct page *pages[8];
	int nr;
};

static void vtd_hold(struct kunit *test, struct vtd_held *held,
		     struct dma_pte *table, int level)
{
	struct page *page = virt_to_page(table);
	int i;

	KUNIT_ASSERT_LT(test, held->nr, ARRAY_SIZE(held->pages));
	get_page(page);
	held->pages[held->nr++] = page;
	for (i = 0; level > 1 && i < SZ_4K / sizeof(*table); i++)
		if (dma_pte_present(&table[i]) && !dma_pte_superpage(&table[i]))
			vtd_hold(test, held,
				 phys_to_virt(dma_pte_addr(&table[i])),
				 level - 1);
}

static void vtd_expect_freed(struct kunit *test, struct vtd_held *held,
			     const char *what)
{
	while (held->nr--) {
		KUNIT_EXPECT_EQ_MSG(test, page_count(held->pages[held->nr]), 1,
				    "%s", what);
		put_page(held->pages[held->nr]);
	}
}

static int vtd_map(struct dmar_domain *domain, unsigned long iova, size_t size)
{
	size_t mapped;

	return domain->domain.ops->map_pages(&domain->domain, iova, 0, size, 1,
					     IOMMU_READ | IOMMU_WRITE,
					     GFP_KERNEL, &mapped);
}

/* All tables are freed; where nothing was ever mapped there is no search */
static void vtd_test_free(struct kunit *test)
{
	static const struct {
		enum vtd_hw_id hw;
		bool first;
		int tables;
	} cases[] = {
		{ L39, 0, 4 }, { L48, 0, 5 }, { L57, 0, 6 }, { L48_WALK, 0, 5 },
		{ S2, 0, 5 }, { S12, 1, 5 }, { S12_57, 1, 6 },
	};
	struct vtd_held held = {};
	struct dmar_domain *domain;
	struct vtd_test_dev *vdev;
	const char *name;
	void *table;
	int i;

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		name = vtd_hw[cases[i].hw].name;
		vdev = vtd_dev(test, cases[i].hw);

		domain = vtd_domain(test, vdev, cases[i].first);
		KUNIT_EXPECT_EQ(test, 0, vtd_map(domain, SZ_4K, SZ_4K));
		KUNIT_EXPECT_EQ(test, 0, vtd_map(domain, SZ_1G, SZ_2M));
		held.nr = 0;
		vtd_hold(test, &held, domain->pgd, agaw_to_level(domain->agaw));
		KUNIT_EXPECT_EQ_MSG(test, held.nr, cases[i].tables, "%s", name);
		vtd_free(domain);
		vtd_expect_freed(test, &held, name);

		/* Mapping fails before there is a table */
		domain = vtd_domain(test, vdev, cases[i].first);
		KUNIT_EXPECT_EQ_MSG(test, -EFAULT,
				    vtd_map(domain, BIT_ULL(domain->gaw),
					    SZ_4K), "%s", name);
		held.nr = 0;
		vtd_hold(test, &held, domain->pgd, agaw_to_level(domain->agaw));
		KUNIT_EXPECT_EQ_MSG(test, held.nr, 1, "%s", name);
		/* This one is only found by a search */
		table = iommu_alloc_page(GFP_KERNEL);
		KUNIT_ASSERT_NOT_NULL(test, table);
		get_page(virt_to_page(table));
		domain->pgd[1].val = virt_to_phys(table) | DMA_PTE_READ;
		vtd_free(domain);
		vtd_expect_freed(test, &held, name);
		KUNIT_EXPECT_EQ_MSG(test, page_count(virt_to_page(table)), 2,
				    "%s", name);
		put_page(virt_to_page(table));
		iommu_free_page(table);
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

static struct dmar_domain *vtd_nested_domain(struct kunit *test,
					     struct vtd_test_dev *vdev,
					     struct dmar_domain *parent,
					     u32 width, u32 flags)
{
	struct iommu_hwpt_vtd_s1 s1 = {
		.flags = flags,
		.pgtbl_addr = VTD_TEST_S1,
		.addr_width = width,
	};
	struct iommu_user_data data = {
		.type = IOMMU_HWPT_DATA_VTD_S1,
		.len = sizeof(s1),
	};
	struct iommu_domain *domain;
	unsigned long addr;

	addr = kunit_vm_mmap(test, NULL, 0, PAGE_SIZE, PROT_READ | PROT_WRITE,
			     MAP_ANONYMOUS | MAP_PRIVATE, 0);
	KUNIT_ASSERT_NE(test, 0, addr);
	KUNIT_ASSERT_LT(test, addr, TASK_SIZE);
	data.uptr = (void __user *)addr;
	KUNIT_ASSERT_EQ(test, 0, copy_to_user(data.uptr, &s1, sizeof(s1)));

	domain = intel_iommu_ops.domain_alloc_user(vdev->dev, 0,
						   &parent->domain, &data);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, domain);
	return to_dmar_domain(domain);
}

static struct dmar_domain *vtd_parent(struct kunit *test,
				      struct vtd_test_dev *vdev, u32 flags)
{
	struct dmar_domain *parent;

	flags |= IOMMU_HWPT_ALLOC_NEST_PARENT;
	parent = vtd_user_domain(vdev, flags);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, parent);
	return parent;
}

static void vtd_expect_nested(struct kunit *test, struct vtd_test_dev *vdev,
			      struct dmar_domain *s1, const char *what)
{
	struct pasid_entry *pte = vtd_entry(vdev);
	struct dmar_domain *parent = s1->s2_domain;
	u16 did = vtd_did(vdev, s1);

	KUNIT_EXPECT_PTR_EQ_MSG(test, vdev->info.domain, s1, "%s", what);
	KUNIT_EXPECT_TRUE_MSG(test, list_is_singular(&s1->devices), "%s", what);
	KUNIT_EXPECT_TRUE_MSG(test, pasid_pte_is_present(pte), "%s", what);
	KUNIT_EXPECT_EQ_MSG(test, pasid_pte_get_pgtt(pte),
			    PASID_ENTRY_PGTT_NESTED, "%s", what);
	KUNIT_EXPECT_EQ_MSG(test, pasid_get_domain_id(pte), did, "%s", what);
	KUNIT_EXPECT_EQ_MSG(test, pte->val[0] & VTD_PAGE_MASK,
			    virt_to_phys(parent->pgd), "%s", what);
	KUNIT_EXPECT_EQ_MSG(test, pte->val[2] & VTD_PAGE_MASK, VTD_TEST_S1,
			    "%s", what);

	KUNIT_EXPECT_EQ_MSG(test, 1, vtd_tags(s1, CACHE_TAG_IOTLB, did,
					      IOMMU_NO_PASID), "%s", what);
	KUNIT_EXPECT_EQ_MSG(test, 1, vtd_tags(parent, CACHE_TAG_NESTING_IOTLB,
					      did, IOMMU_NO_PASID), "%s", what);
	KUNIT_EXPECT_EQ_MSG(test, (int)vdev->info.ats_supported,
			    vtd_tags(s1, CACHE_TAG_DEVTLB, did,
				     IOMMU_NO_PASID), "%s", what);
	KUNIT_EXPECT_EQ_MSG(test, (int)vdev->info.ats_supported,
			    vtd_tags(parent, CACHE_TAG_NESTING_DEVTLB, did,
				     IOMMU_NO_PASID), "%s", what);
	KUNIT_EXPECT_EQ_MSG(test, vtd_all_tags(s1), vtd_all_tags(parent), "%s",
			    what);
}

/* A stage-1 domain is checked together with its parent */
static void vtd_test_nested(struct kunit *test)
{
	static const struct {
		enum vtd_hw_id parent, to;
		u32 width, flags;
		int ret;
		bool no_table;
	} cases[] = {
		{ S12_NEST, S12_NEST, ADDR_WIDTH_4LEVEL, 0, 0 },
		{ S12_NEST, S12_NEST, ADDR_WIDTH_4LEVEL, 0, -EINVAL, true },
		{ S12_NEST, S12, ADDR_WIDTH_4LEVEL, 0, -EINVAL },
		{ S12_NEST, S12_NEST, ADDR_WIDTH_5LEVEL, 0, -EINVAL },
		{ S12_NEST, S12_NEST, 39, 0, -EINVAL },
		{ S12_NEST, S12_NEST_57, ADDR_WIDTH_5LEVEL, 0, 0 },
		{ S12_NEST_57, S12_NEST, ADDR_WIDTH_4LEVEL, 0, -EINVAL },
		{ S12_NEST, S12_NEST_CM, ADDR_WIDTH_4LEVEL, 0, -EINVAL },
		{ S12_NEST, S12_NEST, ADDR_WIDTH_4LEVEL,
		  IOMMU_VTD_S1_SRE, -EINVAL },
		{ S12_NEST, S12_NEST_57, ADDR_WIDTH_4LEVEL,
		  IOMMU_VTD_S1_SRE, 0 },
		{ S12_NEST, S12_NEST, ADDR_WIDTH_4LEVEL,
		  IOMMU_VTD_S1_EAFE, -EINVAL },
		{ S12_NEST, S12_NEST_57, ADDR_WIDTH_4LEVEL,
		  IOMMU_VTD_S1_EAFE, 0 },
	};
	struct vtd_snapshot *before, *after;
	struct dmar_domain *parent, *s1, *old, s1_before;
	struct vtd_test_dev *from, *to;
	char what[16];
	int i;

	before = vtd_snapshot(test);
	after = vtd_snapshot(test);

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		snprintf(what, sizeof(what), "case %d", i);
		from = vtd_dev(test, cases[i].parent);
		parent = vtd_parent(test, from, 0);
		s1 = vtd_nested_domain(test, from, parent, cases[i].width,
				       cases[i].flags);
		to = vtd_dev(test, cases[i].to);
		old = vtd_own_domain(test, to);
		KUNIT_ASSERT_EQ(test, 0, vtd_attach(to, old));

		/* As a subdevice of a real DMA device has none */
		if (cases[i].no_table)
			to->info.pasid_table = NULL;
		vtd_snap(before, to, parent, old);
		s1_before = *s1;
		KUNIT_EXPECT_EQ_MSG(test, vtd_attach(to, s1), cases[i].ret,
				    "%s", what);
		if (cases[i].ret) {
			vtd_snap(after, to, parent, old);
			KUNIT_EXPECT_MEMEQ_MSG(test, before, after,
					       sizeof(*before), "%s", what);
			KUNIT_EXPECT_MEMEQ_MSG(test, &s1_before, s1,
					       sizeof(*s1), "%s", what);
		} else {
			vtd_expect_nested(test, to, s1, what);
		}
		if (cases[i].no_table)
			to->info.pasid_table = &to->pasid_table;

		KUNIT_EXPECT_EQ(test, 0, vtd_attach(to, old));
		vtd_expect_on(test, to, old, what);
		vtd_block(to);
		KUNIT_EXPECT_EQ(test, vtd_ids(to), NUM_RESERVED_DID);
		vtd_free(s1);
		KUNIT_EXPECT_TRUE(test, list_empty(&parent->s1_domains));
		vtd_free(parent);
		vtd_free(old);
	}
}

/* From a paging domain to a nested one, to its sibling, to the parent, back */
static void vtd_test_nested_moves(struct kunit *test)
{
	struct vtd_snapshot *before, *after;
	struct dmar_domain *parent, *a, *b, *old, a_before;
	struct vtd_test_dev *vdev;
	unsigned long ids;
	u64 entry[8];

	before = vtd_snapshot(test);
	after = vtd_snapshot(test);
	vdev = vtd_dev(test, S12_NEST);
	vdev->info.ats_supported = 1;
	parent = vtd_parent(test, vdev, 0);
	a = vtd_nested_domain(test, vdev, parent, ADDR_WIDTH_4LEVEL, 0);
	b = vtd_nested_domain(test, vdev, parent, ADDR_WIDTH_4LEVEL, 0);
	old = vtd_own_domain(test, vdev);
	KUNIT_ASSERT_EQ(test, 0, vtd_attach(vdev, old));

	/* Without an ID the device stays where it is */
	memcpy(entry, vtd_entry(vdev), sizeof(entry));
	ids = *vdev->iommu.domain_ids;
	bitmap_fill(vdev->iommu.domain_ids, VTD_TEST_IDS);
	vtd_flushes = 0;
	KUNIT_EXPECT_EQ(test, -ENOSPC, vtd_attach(vdev, a));
	KUNIT_EXPECT_EQ(test, 0, vtd_flushes);
	KUNIT_EXPECT_MEMEQ(test, entry, vtd_entry(vdev), sizeof(entry));
	vtd_expect_on(test, vdev, old, "no ID");
	KUNIT_EXPECT_EQ(test, 0, vtd_all_tags(a));
	KUNIT_EXPECT_EQ(test, 0, vtd_all_tags(parent));
	*vdev->iommu.domain_ids = ids;

	KUNIT_ASSERT_EQ(test, 0, vtd_attach(vdev, a));
	vtd_expect_nested(test, vdev, a, "from paging");
	KUNIT_EXPECT_TRUE(test, list_empty(&old->devices));
	KUNIT_EXPECT_TRUE(test, list_empty(&old->cache_tags));

	/* Once more changes nothing */
	vtd_snap(before, vdev, parent, old);
	a_before = *a;
	KUNIT_EXPECT_EQ(test, 0, vtd_attach(vdev, a));
	vtd_snap(after, vdev, parent, old);
	KUNIT_EXPECT_MEMEQ(test, before, after, sizeof(*before));
	KUNIT_EXPECT_MEMEQ(test, &a_before, a, sizeof(*a));

	/* For a moment the parent has the tags of both */
	KUNIT_ASSERT_EQ(test, 0, vtd_attach(vdev, b));
	vtd_expect_nested(test, vdev, b, "sibling");
	KUNIT_EXPECT_EQ(test, 0, vtd_all_tags(a));
	KUNIT_EXPECT_EQ(test, 2, vtd_spares(a));
	KUNIT_EXPECT_EQ(test, 2, vtd_all_tags(parent));
	KUNIT_EXPECT_EQ(test, 2, vtd_spares(parent));

	/* From here on all is there */
	vtd_set_fault(-1);
	KUNIT_ASSERT_EQ(test, 0, vtd_attach(vdev, a));
	vtd_set_fault(0);
	vtd_expect_nested(test, vdev, a, "back from sibling");
	KUNIT_EXPECT_EQ(test, 0, vtd_spares(a));
	KUNIT_EXPECT_EQ(test, 2, vtd_spares(b));
	KUNIT_EXPECT_EQ(test, 2, vtd_spares(parent));

	KUNIT_ASSERT_EQ(test, 0, vtd_attach(vdev, parent));
	vtd_expect_on(test, vdev, parent, "parent");
	KUNIT_EXPECT_EQ(test, 1, vtd_tags(parent, CACHE_TAG_IOTLB,
					  vtd_did(vdev, parent),
					  IOMMU_NO_PASID));
	KUNIT_EXPECT_EQ(test, 2, vtd_all_tags(parent));
	KUNIT_EXPECT_EQ(test, 2, vtd_spares(parent));

	vtd_set_fault(-1);
	KUNIT_ASSERT_EQ(test, 0, vtd_attach(vdev, a));
	vtd_set_fault(0);
	vtd_expect_nested(test, vdev, a, "back from parent");
	KUNIT_EXPECT_EQ(test, 2, vtd_spares(parent));

	vtd_block(vdev);
	KUNIT_EXPECT_EQ(test, 0, vtd_all_tags(parent));
	KUNIT_EXPECT_EQ(test, vtd_ids(vdev), NUM_RESERVED_DID);
	vtd_free(a);
	vtd_free(b);
	KUNIT_EXPECT_TRUE(test, list_empty(&parent->s1_domains));
	vtd_free(parent);
	vtd_free(old);
}

static void vtd_test_nested_snoop(struct kunit *test)
{
	struct dmar_domain *parent, *s1;
	struct vtd_test_dev *vdev;
	struct pasid_entry *pte;
	int snoop;

	for (snoop = 0; snoop < 2; snoop++) {
		vdev = vtd_dev(test, S12_NEST);
		parent = vtd_parent(test, vdev, 0);
		if (snoop)
			KUNIT_EXPECT_TRUE(test, vtd_enforce_snooping(parent));
		s1 = vtd_nested_domain(test, vdev, parent, ADDR_WIDTH_4LEVEL,
				       0);
		KUNIT_ASSERT_EQ(test, 0, vtd_attach(vdev, s1));
		pte = vtd_entry(vdev);
		KUNIT_EXPECT_EQ(test, snoop, vtd_snoops(pte));
		/* It has a stage-1 domain, whose entries would miss it */
		KUNIT_EXPECT_EQ(test, snoop, vtd_enforce_snooping(parent));
		KUNIT_EXPECT_EQ(test, snoop, vtd_snoops(pte));
		vtd_block(vdev);
		KUNIT_EXPECT_EQ(test, snoop, vtd_enforce_snooping(parent));
		vtd_free(s1);
		KUNIT_EXPECT_TRUE(test, vtd_enforce_snooping(parent));
		vtd_free(parent);
	}
}

static int vtd_track(struct dmar_domain *domain, bool enable)
{
	return domain->domain.dirty_ops->set_dirty_tracking(&domain->domain,
							    enable);
}

static struct dmar_domain *vtd_tracked;
static int vtd_tracked_flushes;

/* Whether a device attached now would be tracked */
static void vtd_look_at_tracking(void)
{
	vtd_tracked_flushes += vtd_tracked->dirty_tracking;
}

static int vtd_track_watched(struct dmar_domain *domain, bool enable)
{
	int ret;

	vtd_tracked = domain;
	vtd_tracked_flushes = 0;
	vtd_flushes = 0;
	vtd_on_flush = vtd_look_at_tracking;
	ret = vtd_track(domain, enable);
	vtd_on_flush = NULL;
	return ret;
}

/* Switched while a device is in the list and its entry is not set up */
static void vtd_test_dirty_attach(struct kunit *test)
{
	struct vtd_test_dev *vdev = vtd_dev(test, S12_DIRTY);
	struct dmar_domain *domain;
	int ret;

	domain = vtd_user_domain(vdev, IOMMU_HWPT_ALLOC_DIRTY_TRACKING);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, domain);

	/* What intel_iommu_attach_device() does */
	ret = dmar_domain_prepare_attach(domain, vdev->dev, IOMMU_NO_PASID);
	KUNIT_ASSERT_EQ(test, 0, ret);
	dmar_domain_add_device(domain, vdev->dev);
	KUNIT_EXPECT_EQ(test, 0, vtd_track(domain, true));
	intel_pasid_setup_second_level(&vdev->iommu, domain, vdev->dev,
				       IOMMU_NO_PASID);
	vtd_expect_on(test, vdev, domain, "attached");
	KUNIT_EXPECT_TRUE(test, pasid_get_ssade(vtd_entry(vdev)));

	KUNIT_EXPECT_EQ(test, 0, vtd_track_watched(domain, false));
	KUNIT_EXPECT_FALSE(test, pasid_get_ssade(vtd_entry(vdev)));
	KUNIT_EXPECT_EQ(test, 2, vtd_flushes);
	KUNIT_EXPECT_EQ(test, 0, vtd_tracked_flushes);
	vtd_block(vdev);
	vtd_free(domain);
}

/* Tracked in the parent, which has a device and two domains with one each */
static void vtd_test_nested_dirty(struct kunit *test)
{
	struct dmar_domain *parent, *s1[2], *old;
	struct vtd_test_dev *vdev[3];
	struct pasid_entry *pte[3];
	int i;

	for (i = 0; i < 3; i++)
		vdev[i] = vtd_dev(test, S12_NEST_DIRTY);
	parent = vtd_parent(test, vdev[0], IOMMU_HWPT_ALLOC_DIRTY_TRACKING);
	old = vtd_own_domain(test, vdev[0]);
	for (i = 0; i < 2; i++) {
		s1[i] = vtd_nested_domain(test, vdev[i], parent,
					  ADDR_WIDTH_4LEVEL, 0);
		KUNIT_ASSERT_EQ(test, 0, vtd_attach(vdev[i], s1[i]));
	}
	KUNIT_ASSERT_EQ(test, 0, vtd_attach(vdev[2], parent));
	for (i = 0; i < 3; i++) {
		pte[i] = vtd_entry(vdev[i]);
		KUNIT_EXPECT_FALSE(test, pasid_get_ssade(pte[i]));
	}

	/* The new state is seen by who attaches before all have been told */
	KUNIT_EXPECT_EQ(test, 0, vtd_track_watched(parent, true));
	KUNIT_EXPECT_EQ(test, 6, vtd_flushes);
	KUNIT_EXPECT_EQ(test, 6, vtd_tracked_flushes);
	for (i = 0; i < 3; i++)
		KUNIT_EXPECT_TRUE(test, pasid_get_ssade(pte[i]));

	/* As who attaches later */
	KUNIT_ASSERT_EQ(test, 0, vtd_attach(vdev[0], old));
	KUNIT_EXPECT_FALSE(test, pasid_get_ssade(pte[0]));
	KUNIT_ASSERT_EQ(test, 0, vtd_attach(vdev[0], s1[0]));
	KUNIT_EXPECT_TRUE(test, pasid_get_ssade(pte[0]));

	KUNIT_EXPECT_EQ(test, 0, vtd_track_watched(parent, false));
	KUNIT_EXPECT_EQ(test, 6, vtd_flushes);
	KUNIT_EXPECT_EQ(test, 0, vtd_tracked_flushes);
	for (i = 0; i < 3; i++)
		KUNIT_EXPECT_FALSE(test, pasid_get_ssade(pte[i]));

	/* The first domain comes last, and its entry cannot be tracked */
	pasid_set_translation_type(pte[0], PASID_ENTRY_PGTT_PT);
	KUNIT_EXPECT_EQ(test, -EOPNOTSUPP, vtd_track_watched(parent, true));
	KUNIT_EXPECT_FALSE(test, parent->dirty_tracking);
	for (i = 0; i < 3; i++)
		KUNIT_EXPECT_FALSE(test, pasid_get_ssade(pte[i]));
	/* Two were told, twice, with two invalidations each */
	KUNIT_EXPECT_EQ(test, 8, vtd_flushes);
	KUNIT_EXPECT_EQ(test, 4, vtd_tracked_flushes);

	for (i = 0; i < 3; i++)
		vtd_block(vdev[i]);
	for (i = 0; i < 2; i++)
		vtd_free(s1[i]);
	vtd_free(parent);
	vtd_free(old);
}

static void vtd_test_identity(struct kunit *test)
{
	struct vtd_snapshot *before, *after;
	struct dmar_domain *old;
	struct vtd_test_dev *vdev;

	before = vtd_snapshot(test);
	after = vtd_snapshot(test);

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
	static const enum vtd_hw_id hw[] = { L48, S2, S12 };
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

		vtd_set_fault(-1);
		KUNIT_ASSERT_EQ(test, 0, vtd_attach(vdev, old));
		vtd_set_fault(0);
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

/* The entry of a PASID translates through a domain, or there is none */
static void vtd_expect_pasid(struct kunit *test, struct vtd_test_dev *vdev,
			     struct dmar_domain *domain, ioasid_t pasid,
			     const char *what)
{
	struct pasid_entry *pte = vtd_pasid_entry(vdev, pasid);
	u64 page_table;

	if (!domain) {
		KUNIT_EXPECT_TRUE_MSG(test, !pte || !memchr_inv(pte, 0,
								sizeof(*pte)),
				      "%s", what);
		return;
	}

	KUNIT_ASSERT_NOT_NULL_MSG(test, pte, "%s", what);
	KUNIT_EXPECT_TRUE_MSG(test, pasid_pte_is_present(pte), "%s", what);
	KUNIT_EXPECT_EQ_MSG(test, pasid_pte_get_pgtt(pte),
			    domain->use_first_level ? PASID_ENTRY_PGTT_FL_ONLY :
						      PASID_ENTRY_PGTT_SL_ONLY,
			    "%s", what);
	page_table = pte->val[domain->use_first_level ? 2 : 0] & VTD_PAGE_MASK;
	KUNIT_EXPECT_EQ_MSG(test, page_table, virt_to_phys(domain->pgd), "%s",
			    what);
	KUNIT_EXPECT_EQ_MSG(test, pasid_get_domain_id(pte),
			    vtd_did(vdev, domain), "%s", what);
	KUNIT_EXPECT_EQ_MSG(test, 1, vtd_tags(domain, CACHE_TAG_IOTLB,
					      vtd_did(vdev, domain), pasid),
			    "%s", what);
}

/* A PASID is attached and removed, without a trace in what has no PASID */
static void vtd_test_pasid(struct kunit *test)
{
	static const struct {
		bool first;
		ioasid_t pasid;
	} cases[] = {
		{ 0, VTD_TEST_PASID }, { 1, VTD_TEST_PASID },
		{ 0, VTD_FAR_PASID }, { 1, VTD_FAR_PASID },
	};
	struct vtd_snapshot *before, *after;
	struct dev_pasid_info *dev_pasid;
	struct dmar_domain *domain, *old;
	struct vtd_test_dev *vdev;
	ioasid_t pasid;
	char what[16];
	int i, ids;

	before = vtd_snapshot(test);
	after = vtd_snapshot(test);

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		snprintf(what, sizeof(what), "case %d", i);
		pasid = cases[i].pasid;
		vdev = vtd_dev(test, S12);
		vdev->info.ats_supported = 1;
		old = vtd_own_domain(test, vdev);
		domain = vtd_domain(test, vdev, cases[i].first);
		KUNIT_ASSERT_EQ(test, 0, vtd_attach(vdev, old));
		ids = vtd_ids(vdev);
		vtd_snap(before, vdev, old, old);

		KUNIT_ASSERT_EQ(test, 0, vtd_set_pasid(vdev, &domain->domain,
						       pasid));
		vtd_expect_pasid(test, vdev, domain, pasid, what);
		KUNIT_EXPECT_EQ(test, 2, vtd_all_tags(domain));
		KUNIT_EXPECT_EQ(test, 1, vtd_tags(domain, CACHE_TAG_DEVTLB,
						  vtd_did(vdev, domain),
						  pasid));
		KUNIT_EXPECT_EQ(test, 1, vtd_refcnt(vdev, domain));
		KUNIT_EXPECT_EQ(test, ids + 1, vtd_ids(vdev));
		KUNIT_EXPECT_TRUE(test, list_empty(&domain->devices));
		KUNIT_ASSERT_TRUE(test, list_is_singular(&domain->dev_pasids));
		dev_pasid = list_first_entry(&domain->dev_pasids,
					     struct dev_pasid_info,
					     link_domain);
		KUNIT_EXPECT_PTR_EQ(test, dev_pasid->dev, vdev->dev);
		KUNIT_EXPECT_EQ(test, dev_pasid->pasid, pasid);
		vtd_expect_on(test, vdev, old, what);

		vtd_remove_pasid(vdev, &domain->domain, pasid);
		vtd_expect_pasid(test, vdev, NULL, pasid, what);
		KUNIT_EXPECT_TRUE(test, list_empty(&domain->dev_pasids));
		KUNIT_EXPECT_EQ(test, 0, vtd_all_tags(domain));
		KUNIT_EXPECT_EQ(test, 2, vtd_spares(domain));
		KUNIT_EXPECT_EQ(test, 0, vtd_refcnt(vdev, domain));
		vtd_snap(after, vdev, old, old);
		after->flushes = before->flushes;
		KUNIT_EXPECT_MEMEQ(test, before, after, sizeof(*before));

		vtd_block(vdev);
		KUNIT_EXPECT_EQ(test, vtd_ids(vdev), NUM_RESERVED_DID);
		vtd_free(domain);
		vtd_free(old);
	}
}

/* A PASID that is in use is left alone; when it is free, another can have it */
static void vtd_test_pasid_busy(struct kunit *test)
{
	struct vtd_test_dev *vdev = vtd_dev(test, S12_DIRTY), *other;
	struct vtd_snapshot *before, *after;
	struct dmar_domain *a, *b, *dirty;
	struct cache_tag *tag;
	u64 entry[8];

	before = vtd_snapshot(test);
	after = vtd_snapshot(test);
	a = vtd_domain(test, vdev, false);
	b = vtd_domain(test, vdev, true);
	KUNIT_ASSERT_EQ(test, 0, vtd_attach_pasid(vdev, a));
	tag = list_first_entry(&a->cache_tags, struct cache_tag, node);

	memcpy(entry, vtd_pasid_entry(vdev, VTD_TEST_PASID), sizeof(entry));
	vtd_snap(before, vdev, a, b);
	KUNIT_EXPECT_EQ(test, -EBUSY, vtd_attach_pasid(vdev, b));
	KUNIT_EXPECT_EQ(test, -EBUSY, vtd_attach_pasid(vdev, a));
	/* To know the old one does not help */
	KUNIT_EXPECT_EQ(test, -EBUSY,
			b->domain.ops->set_dev_pasid(&b->domain, vdev->dev,
						     VTD_TEST_PASID,
						     &a->domain));
	vtd_snap(after, vdev, a, b);
	KUNIT_EXPECT_MEMEQ(test, before, after, sizeof(*before));
	KUNIT_EXPECT_MEMEQ(test, entry, vtd_pasid_entry(vdev, VTD_TEST_PASID),
			   sizeof(entry));

	vtd_remove_pasid(vdev, &a->domain, VTD_TEST_PASID);
	KUNIT_ASSERT_EQ(test, 0, vtd_attach_pasid(vdev, b));
	vtd_expect_pasid(test, vdev, b, VTD_TEST_PASID, "b");
	KUNIT_EXPECT_EQ(test, 0, vtd_all_tags(a));
	vtd_remove_pasid(vdev, &b->domain, VTD_TEST_PASID);
	KUNIT_ASSERT_EQ(test, 0, vtd_attach_pasid(vdev, a));
	vtd_expect_pasid(test, vdev, a, VTD_TEST_PASID, "a again");
	KUNIT_EXPECT_PTR_EQ(test, tag, list_first_entry(&a->cache_tags,
							struct cache_tag,
							node));
	KUNIT_EXPECT_EQ(test, 1, vtd_all_tags(a));
	KUNIT_EXPECT_EQ(test, 0, vtd_spares(a));
	vtd_remove_pasid(vdev, &a->domain, VTD_TEST_PASID);

	/* Dirty pages cannot be tracked by PASID, whatever the hardware can */
	dirty = vtd_user_domain(vdev, IOMMU_HWPT_ALLOC_DIRTY_TRACKING);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, dirty);
	KUNIT_EXPECT_EQ(test, -EINVAL, vtd_attach_pasid(vdev, dirty));
	KUNIT_EXPECT_TRUE(test, list_empty(&dirty->dev_pasids));
	vtd_expect_pasid(test, vdev, NULL, VTD_TEST_PASID, "dirty");
	vtd_free(dirty);

	other = vtd_dev(test, S12_NO_PASID);
	KUNIT_EXPECT_EQ(test, -EOPNOTSUPP, vtd_attach_pasid(other, b));
	KUNIT_EXPECT_TRUE(test, list_empty(&b->dev_pasids));
	vtd_expect_pasid(test, other, NULL, VTD_TEST_PASID, "no PASIDs");

	KUNIT_EXPECT_EQ(test, vtd_ids(vdev), NUM_RESERVED_DID);
	KUNIT_EXPECT_EQ(test, vtd_ids(other), NUM_RESERVED_DID);
	vtd_free(a);
	vtd_free(b);
}

/* One domain for a device, its PASID and the PASID of another device */
static void vtd_test_pasid_shared(struct kunit *test)
{
	struct vtd_test_dev *vdev = vtd_dev(test, S12);
	struct vtd_test_dev *other = vtd_dev(test, S12);
	struct dev_pasid_info *dev_pasid;
	struct dmar_domain *domain;
	struct cache_tag *tag;
	u16 did;

	/* Behind the same IOMMU */
	other->info.iommu = &vdev->iommu;
	other->info.devfn = vdev->info.devfn + 8;
	domain = vtd_own_domain(test, vdev);

	KUNIT_ASSERT_EQ(test, 0, vtd_attach(vdev, domain));
	KUNIT_ASSERT_EQ(test, 0, vtd_attach_pasid(vdev, domain));
	did = vtd_did(vdev, domain);
	KUNIT_EXPECT_EQ(test, 2, vtd_refcnt(vdev, domain));
	KUNIT_EXPECT_EQ(test, 2, vtd_all_tags(domain));
	KUNIT_EXPECT_EQ(test, NUM_RESERVED_DID + 1, vtd_ids(vdev));

	vtd_remove_pasid(vdev, &domain->domain, VTD_TEST_PASID);
	vtd_expect_pasid(test, vdev, NULL, VTD_TEST_PASID, "only the device");
	vtd_expect_on(test, vdev, domain, "only the device");
	KUNIT_EXPECT_EQ(test, 1, vtd_refcnt(vdev, domain));
	KUNIT_EXPECT_EQ(test, 1, vtd_tags(domain, CACHE_TAG_IOTLB, did,
					  IOMMU_NO_PASID));
	KUNIT_EXPECT_EQ(test, 1, vtd_all_tags(domain));

	KUNIT_ASSERT_EQ(test, 0, vtd_attach_pasid(vdev, domain));
	vtd_block(vdev);
	vtd_expect_pasid(test, vdev, NULL, IOMMU_NO_PASID, "only the PASID");
	vtd_expect_pasid(test, vdev, domain, VTD_TEST_PASID, "only the PASID");
	KUNIT_EXPECT_EQ(test, did, vtd_did(vdev, domain));
	KUNIT_EXPECT_EQ(test, 1, vtd_refcnt(vdev, domain));
	KUNIT_EXPECT_EQ(test, 1, vtd_all_tags(domain));

	KUNIT_ASSERT_EQ(test, 0, vtd_attach_pasid(other, domain));
	tag = list_first_entry(&domain->cache_tags, struct cache_tag, node);
	KUNIT_EXPECT_EQ(test, 2, tag->users);
	KUNIT_EXPECT_EQ(test, 1, vtd_all_tags(domain));
	KUNIT_EXPECT_EQ(test, 2, vtd_refcnt(vdev, domain));
	KUNIT_EXPECT_EQ(test, 2, list_count_nodes(&domain->dev_pasids));

	vtd_remove_pasid(vdev, &domain->domain, VTD_TEST_PASID);
	vtd_expect_pasid(test, vdev, NULL, VTD_TEST_PASID, "only the other");
	vtd_expect_pasid(test, other, domain, VTD_TEST_PASID, "only the other");
	KUNIT_EXPECT_EQ(test, 1, tag->users);
	KUNIT_EXPECT_EQ(test, 1, vtd_refcnt(vdev, domain));
	KUNIT_ASSERT_TRUE(test, list_is_singular(&domain->dev_pasids));
	dev_pasid = list_first_entry(&domain->dev_pasids, struct dev_pasid_info,
				     link_domain);
	KUNIT_EXPECT_PTR_EQ(test, dev_pasid->dev, other->dev);

	vtd_remove_pasid(other, &domain->domain, VTD_TEST_PASID);
	KUNIT_EXPECT_EQ(test, vtd_ids(vdev), NUM_RESERVED_DID);
	vtd_free(domain);
}

/* Snooping is enforced for PASIDs, too, and only where all IOMMUs can do it */
static void vtd_test_pasid_snoop(struct kunit *test)
{
	struct vtd_test_dev *vdev = vtd_dev(test, S12);
	struct vtd_test_dev *other = vtd_dev(test, S12_SC);
	struct dmar_domain *domain, *simple;
	struct pasid_entry *pte;

	domain = vtd_domain(test, vdev, true);
	KUNIT_ASSERT_EQ(test, 0, vtd_attach_pasid(vdev, domain));
	KUNIT_ASSERT_EQ(test, 0, vtd_attach_pasid(other, domain));
	KUNIT_EXPECT_FALSE(test, vtd_enforce_snooping(domain));
	pte = vtd_pasid_entry(vdev, VTD_TEST_PASID);
	KUNIT_EXPECT_EQ(test, 0, vtd_snoops(pte));
	vtd_remove_pasid(other, &domain->domain, VTD_TEST_PASID);

	vtd_flushes = 0;
	KUNIT_EXPECT_TRUE(test, vtd_enforce_snooping(domain));
	KUNIT_EXPECT_GT(test, vtd_flushes, 0);
	KUNIT_EXPECT_EQ(test, 1, vtd_snoops(pte));
	/* There is nothing left to do */
	vtd_flushes = 0;
	KUNIT_EXPECT_TRUE(test, vtd_enforce_snooping(domain));
	KUNIT_EXPECT_EQ(test, vtd_flushes, 0);
	KUNIT_EXPECT_EQ(test, -EINVAL, vtd_attach_pasid(other, domain));

	/* Where it is attached counts, not what it was allocated for */
	simple = vtd_domain(test, other, true);
	KUNIT_EXPECT_FALSE(test, vtd_enforce_snooping(simple));
	KUNIT_ASSERT_EQ(test, 0, vtd_attach(other, simple));
	KUNIT_ASSERT_EQ(test, 0, vtd_attach(vdev, simple));
	KUNIT_EXPECT_FALSE(test, vtd_enforce_snooping(simple));
	vtd_block(other);
	KUNIT_EXPECT_TRUE(test, vtd_enforce_snooping(simple));
	KUNIT_EXPECT_EQ(test, 1, vtd_snoops(vtd_entry(vdev)));

	vtd_block(vdev);
	vtd_remove_pasid(vdev, &domain->domain, VTD_TEST_PASID);
	vtd_free(simple);
	vtd_free(domain);
}

static struct dmar_domain *vtd_enforced;
static int vtd_enforced_result;

/* What was found compatible meets what is enforced while it is attached */
static void *vtd_enforce_and_zalloc(size_t size, gfp_t gfp)
{
	if (vtd_enforced)
		vtd_enforced_result = vtd_enforce_snooping(vtd_enforced);
	vtd_enforced = NULL;
	return kzalloc(size, gfp);
}

static void vtd_test_snoop_before_attach(struct kunit *test)
{
	struct vtd_test_dev *vdev = vtd_dev(test, S12_SC);
	struct vtd_test_dev *able = vtd_dev(test, S12);
	struct dmar_domain *domain = vtd_domain(test, able, true);

	KUNIT_ASSERT_EQ(test, 0, vtd_attach(able, domain));
	kunit_activate_static_stub(test, dmar_attach_zalloc,
				   vtd_enforce_and_zalloc);
	vtd_enforced = domain;
	KUNIT_EXPECT_EQ(test, -EINVAL, vtd_attach(vdev, domain));
	KUNIT_EXPECT_TRUE(test, vtd_enforced_result);
	KUNIT_EXPECT_FALSE(test, vdev->info.domain_attached);
	KUNIT_EXPECT_EQ(test, vtd_ids(vdev), NUM_RESERVED_DID);
	KUNIT_EXPECT_EQ(test, domain->nr_no_snoop, 0);
	KUNIT_EXPECT_EQ(test, 1, vtd_snoops(vtd_entry(able)));
	vtd_block(able);
	vtd_free(domain);
}

/*
 * Snooping is enforced in the middle of an attach: the device is in the list,
 * or its PASID, and the entry not set up.
 */
static void vtd_test_snoop_during_attach(struct kunit *test)
{
	struct vtd_test_dev *vdev = vtd_dev(test, S12);
	struct dev_pasid_info dev_pasid = {
		.dev = vdev->dev,
		.pasid = VTD_TEST_PASID,
	};
	struct dmar_domain *domain;

	domain = vtd_domain(test, vdev, true);
	/* Makes the tables */
	KUNIT_ASSERT_EQ(test, 0, vtd_attach(vdev, domain));
	KUNIT_ASSERT_EQ(test, 0, vtd_attach_pasid(vdev, domain));
	vtd_block(vdev);
	vtd_remove_pasid(vdev, &domain->domain, VTD_TEST_PASID);

	list_add(&vdev->info.link, &domain->devices);
	list_add(&dev_pasid.link_domain, &domain->dev_pasids);
	vtd_flushes = 0;
	KUNIT_EXPECT_TRUE(test, vtd_enforce_snooping(domain));
	KUNIT_EXPECT_EQ(test, vtd_flushes, 0);
	KUNIT_EXPECT_EQ(test, 0, vtd_snoops(vtd_entry(vdev)));
	list_del(&vdev->info.link);
	list_del(&dev_pasid.link_domain);

	/* Who sets the entry up sees it */
	KUNIT_ASSERT_EQ(test, 0, vtd_attach(vdev, domain));
	KUNIT_ASSERT_EQ(test, 0, vtd_attach_pasid(vdev, domain));
	KUNIT_EXPECT_EQ(test, 1, vtd_snoops(vtd_entry(vdev)));
	KUNIT_EXPECT_EQ(test, 1, vtd_snoops(vtd_pasid_entry(vdev,
							    VTD_TEST_PASID)));
	vtd_remove_pasid(vdev, &domain->domain, VTD_TEST_PASID);
	vtd_block(vdev);
	vtd_free(domain);
}

static void vtd_test_scalable_identity(struct kunit *test)
{
	struct iommu_domain *identity = intel_iommu_ops.identity_domain;
	struct vtd_test_dev *vdev = vtd_dev(test, S12);
	struct dmar_domain *old;
	struct pasid_entry *pte;

	old = vtd_own_domain(test, vdev);
	KUNIT_ASSERT_EQ(test, 0, vtd_attach(vdev, old));

	KUNIT_EXPECT_EQ(test, 0, vtd_set_pasid(vdev, identity, VTD_TEST_PASID));
	pte = vtd_pasid_entry(vdev, VTD_TEST_PASID);
	KUNIT_EXPECT_TRUE(test, pasid_pte_is_present(pte));
	KUNIT_EXPECT_EQ(test, pasid_pte_get_pgtt(pte), PASID_ENTRY_PGTT_PT);
	KUNIT_EXPECT_EQ(test, pasid_get_domain_id(pte), FLPT_DEFAULT_DID);
	KUNIT_EXPECT_EQ(test, -EBUSY, vtd_set_pasid(vdev, identity,
						    VTD_TEST_PASID));
	KUNIT_EXPECT_EQ(test, -EBUSY, vtd_attach_pasid(vdev, old));
	KUNIT_EXPECT_EQ(test, pasid_pte_get_pgtt(pte), PASID_ENTRY_PGTT_PT);
	vtd_remove_pasid(vdev, identity, VTD_TEST_PASID);
	vtd_expect_pasid(test, vdev, NULL, VTD_TEST_PASID, "removed");

	KUNIT_EXPECT_EQ(test, 0, vtd_attach_pasid(vdev, old));
	KUNIT_EXPECT_EQ(test, -EBUSY, vtd_set_pasid(vdev, identity,
						    VTD_TEST_PASID));
	vtd_expect_pasid(test, vdev, old, VTD_TEST_PASID, "in use");
	vtd_remove_pasid(vdev, &old->domain, VTD_TEST_PASID);

	/* And without a PASID */
	KUNIT_EXPECT_EQ(test, 0, vtd_identity(vdev));
	pte = vtd_entry(vdev);
	KUNIT_EXPECT_TRUE(test, pasid_pte_is_present(pte));
	KUNIT_EXPECT_EQ(test, pasid_pte_get_pgtt(pte), PASID_ENTRY_PGTT_PT);
	KUNIT_EXPECT_EQ(test, pasid_get_domain_id(pte), FLPT_DEFAULT_DID);
	KUNIT_EXPECT_EQ(test, 0, vtd_all_tags(old));
	KUNIT_EXPECT_EQ(test, 0, vtd_attach(vdev, old));
	vtd_expect_on(test, vdev, old, "back from identity");
	vtd_block(vdev);
	KUNIT_EXPECT_EQ(test, vtd_ids(vdev), NUM_RESERVED_DID);
	vtd_free(old);

	vdev = vtd_dev(test, S12_PT);
	KUNIT_EXPECT_EQ(test, -EINVAL, vtd_set_pasid(vdev, identity,
						     VTD_TEST_PASID));
	vtd_expect_pasid(test, vdev, NULL, VTD_TEST_PASID, "no pass-through");
}

/* Called before a test has anything that it would have to give back */
static void vtd_need_sva(struct kunit *test)
{
	if (!IS_ENABLED(CONFIG_INTEL_IOMMU_SVM))
		kunit_skip(test, "needs shared virtual memory");
}

static struct iommu_domain *vtd_sva_domain(struct kunit *test,
					   struct vtd_test_dev *vdev)
{
	struct iommu_domain *domain;

	/* The mm comes with the first mapping */
	KUNIT_ASSERT_NE(test, 0, kunit_vm_mmap(test, NULL, 0, PAGE_SIZE,
					       PROT_READ,
					       MAP_ANONYMOUS | MAP_PRIVATE,
					       0));
	domain = intel_iommu_ops.domain_alloc_sva(vdev->dev, current->mm);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, domain);
	domain->type = IOMMU_DOMAIN_SVA;
	domain->mm = current->mm;
	return domain;
}

/* As when the IOMMU was found with the tables of a crashed kernel */
static struct context_entry *vtd_copy_entry(struct kunit *test,
					    struct vtd_test_dev *vdev)
{
	struct intel_iommu *iommu = &vdev->iommu;
	struct context_entry *context;

	if (!iommu->copied_tables)
		iommu->copied_tables = kunit_kzalloc(test,
						     BITS_TO_BYTES(BIT(16)),
						     GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, iommu->copied_tables);
	set_context_copied(iommu, 0, vdev->info.devfn);
	context = iommu_context_addr(iommu, 0, vdev->info.devfn, true);
	KUNIT_ASSERT_NOT_NULL(test, context);
	context->lo = VTD_TEST_S1 | 1;

	return context;
}

/* A device that has such an entry and is blocked can do no DMA */
static void vtd_test_copied_blocked(struct kunit *test)
{
	static const enum vtd_hw_id modes[] = { L48, S12 };
	struct context_entry *context;
	struct dmar_domain *domain;
	struct vtd_test_dev *vdev;

	for (int i = 0; i < ARRAY_SIZE(modes); i++) {
		vdev = vtd_dev(test, modes[i]);
		domain = vtd_own_domain(test, vdev);
		/* Makes the tables */
		KUNIT_ASSERT_EQ(test, 0, vtd_attach(vdev, domain));
		vtd_block(vdev);

		context = vtd_copy_entry(test, vdev);
		vtd_flushes = 0;
		vtd_block(vdev);
		KUNIT_EXPECT_FALSE(test, context_copied(&vdev->iommu, 0,
							vdev->info.devfn));
		KUNIT_EXPECT_GT(test, vtd_flushes, 0);
		if (vdev->info.pasid_table) {
			KUNIT_EXPECT_EQ(test, context->lo & VTD_PAGE_MASK,
					virt_to_phys(vdev->pasid_table.table));
			KUNIT_EXPECT_FALSE(test,
					   pasid_pte_is_present(vtd_entry(vdev)));
		} else {
			KUNIT_EXPECT_EQ(test, context->lo, 0);
			KUNIT_EXPECT_EQ(test, context->hi, 0);
		}

		KUNIT_EXPECT_EQ(test, 0, vtd_attach(vdev, domain));
		vtd_expect_on(test, vdev, domain, "after it was blocked");
		vtd_block(vdev);
		vtd_free(domain);
	}
}

/* A crashed kernel's context entry is replaced, but not for a PASID */
static void vtd_test_copied(struct kunit *test)
{
	struct iommu_domain *identity = intel_iommu_ops.identity_domain, *sva;
	struct vtd_test_dev *vdev = vtd_dev(test, S12_57);
	struct intel_iommu *iommu = &vdev->iommu;
	struct context_entry *context;
	struct dmar_domain *domain;
	struct pasid_entry *pte;
	u8 devfn = vdev->info.devfn;

	vtd_need_sva(test);
	domain = vtd_own_domain(test, vdev);
	sva = vtd_sva_domain(test, vdev);
	/* Makes the tables */
	KUNIT_ASSERT_EQ(test, 0, vtd_attach(vdev, domain));
	vtd_block(vdev);

	context = vtd_copy_entry(test, vdev);

	KUNIT_EXPECT_EQ(test, -EBUSY, vtd_attach_pasid(vdev, domain));
	KUNIT_EXPECT_EQ(test, -EBUSY, vtd_set_pasid(vdev, identity,
						    VTD_TEST_PASID));
	KUNIT_EXPECT_EQ(test, -EBUSY, vtd_set_pasid(vdev, sva,
						    VTD_TEST_PASID));
	KUNIT_EXPECT_TRUE(test, context_copied(iommu, 0, devfn));
	KUNIT_EXPECT_EQ(test, context->lo, VTD_TEST_S1 | 1);
	KUNIT_EXPECT_EQ(test, vtd_ids(vdev), NUM_RESERVED_DID);

	KUNIT_ASSERT_EQ(test, 0, vtd_attach(vdev, domain));
	KUNIT_EXPECT_FALSE(test, context_copied(iommu, 0, devfn));
	KUNIT_EXPECT_EQ(test, context->lo & VTD_PAGE_MASK,
			virt_to_phys(vdev->pasid_table.table));
	KUNIT_EXPECT_TRUE(test, context->lo & 1);
	vtd_expect_on(test, vdev, domain, "replaced");

	KUNIT_EXPECT_EQ(test, 0, vtd_set_pasid(vdev, sva, VTD_TEST_PASID));
	pte = vtd_pasid_entry(vdev, VTD_TEST_PASID);
	KUNIT_EXPECT_TRUE(test, pasid_pte_is_present(pte));
	KUNIT_EXPECT_EQ(test, pasid_pte_get_pgtt(pte), PASID_ENTRY_PGTT_FL_ONLY);
	KUNIT_EXPECT_EQ(test, pte->val[2] & VTD_PAGE_MASK,
			virt_to_phys(sva->mm->pgd));
	vtd_remove_pasid(vdev, sva, VTD_TEST_PASID);
	vtd_expect_pasid(test, vdev, NULL, VTD_TEST_PASID, "removed");
	vtd_block(vdev);

	/* Identity replaces it as well */
	vtd_copy_entry(test, vdev);
	KUNIT_ASSERT_EQ(test, 0, vtd_identity(vdev));
	KUNIT_EXPECT_FALSE(test, context_copied(iommu, 0, devfn));
	KUNIT_EXPECT_EQ(test, context->lo & VTD_PAGE_MASK,
			virt_to_phys(vdev->pasid_table.table));
	vtd_block(vdev);
	sva->ops->free(sva);
	vtd_free(domain);
}

/* Every way to attach that the tests below go through */
enum vtd_kind { PAGING, NESTED, PASID, SVA, IDENTITY, IDENTITY_PASID };

struct vtd_attachment {
	enum vtd_kind kind;
	struct vtd_test_dev *vdev;
	struct iommu_domain *domain;
	struct dmar_domain *parent;
};

static void vtd_prepare(struct kunit *test, struct vtd_attachment *att,
			enum vtd_kind kind, struct vtd_test_dev *vdev)
{
	struct dmar_domain *domain;

	*att = (struct vtd_attachment){ .kind = kind, .vdev = vdev };
	switch (kind) {
	case NESTED:
		att->parent = vtd_parent(test, vdev, 0);
		domain = vtd_nested_domain(test, vdev, att->parent,
					   ADDR_WIDTH_4LEVEL, 0);
		att->domain = &domain->domain;
		break;
	case SVA:
		att->domain = vtd_sva_domain(test, vdev);
		break;
	case IDENTITY:
	case IDENTITY_PASID:
		att->domain = intel_iommu_ops.identity_domain;
		break;
	default:
		att->domain = &vtd_own_domain(test, vdev)->domain;
	}
}

static bool vtd_by_pasid(struct vtd_attachment *att)
{
	return att->kind == PASID || att->kind == SVA ||
	       att->kind == IDENTITY_PASID;
}

static int vtd_do_attach(struct vtd_attachment *att)
{
	if (vtd_by_pasid(att))
		return vtd_set_pasid(att->vdev, att->domain, VTD_FAR_PASID);
	return att->domain->ops->attach_dev(att->domain, att->vdev->dev);
}

static void vtd_do_detach(struct vtd_attachment *att)
{
	if (vtd_by_pasid(att))
		vtd_remove_pasid(att->vdev, att->domain, VTD_FAR_PASID);
	else
		vtd_block(att->vdev);
}

/* What is attached, if it has tags and an ID of its own */
static struct dmar_domain *vtd_attached(struct vtd_attachment *att)
{
	if (att->kind == IDENTITY || att->kind == IDENTITY_PASID)
		return NULL;
	return to_dmar_domain(att->domain);
}

static void vtd_put(struct vtd_attachment *att)
{
	if (vtd_attached(att))
		att->domain->ops->free(att->domain);
	if (att->parent)
		vtd_free(att->parent);
}

static void vtd_expect_untouched(struct kunit *test, struct vtd_attachment *att,
				 const char *what)
{
	struct dmar_domain *domain = vtd_attached(att);

	if (vtd_by_pasid(att))
		vtd_expect_pasid(test, att->vdev, NULL, VTD_FAR_PASID, what);
	if (att->parent)
		KUNIT_EXPECT_EQ_MSG(test, 0, vtd_all_tags(att->parent), "%s",
				    what);
	if (!domain)
		return;
	KUNIT_EXPECT_EQ_MSG(test, 0, vtd_all_tags(domain), "%s", what);
	KUNIT_EXPECT_EQ_MSG(test, 0, vtd_refcnt(att->vdev, domain), "%s", what);
	KUNIT_EXPECT_TRUE_MSG(test, list_empty(&domain->devices), "%s", what);
	KUNIT_EXPECT_TRUE_MSG(test, list_empty(&domain->dev_pasids), "%s",
			      what);
}

static const struct vtd_memory {
	const char *name;
	enum vtd_hw_id hw;
	enum vtd_kind kind;
	bool first_attach;	/* Nothing else is attached, or ever was */
	int points;
} vtd_memory[] = {
	/* The context table, the record, the batch and two tags */
	{ "legacy, first", L48, PAGING, true, 5 },
	{ "legacy", L48, PAGING, false, 4 },
	{ "identity, legacy, first", L48, IDENTITY, true, 1 },
	/* Here also a PASID table */
	{ "second stage, first", S2, PAGING, true, 6 },
	{ "second stage", S2, PAGING, false, 4 },
	{ "first stage, first", S12, PAGING, true, 6 },
	{ "first stage", S12, PAGING, false, 4 },
	{ "identity, first", S12, IDENTITY, true, 2 },
	{ "identity", S12, IDENTITY, false, 0 },
	/* The parent has a batch and two tags */
	{ "nested, first", S12_NEST, NESTED, true, 9 },
	{ "nested", S12_NEST, NESTED, false, 7 },
	/* Who has the PASID */
	{ "PASID, first", S12, PASID, true, 7 },
	{ "PASID", S12, PASID, false, 6 },
	{ "identity by PASID", S12, IDENTITY_PASID, false, 1 },
	/* No record, as there is no ID */
	{ "SVA", S12_57, SVA, false, 5 },
};

static void vtd_memory_desc(const struct vtd_memory *memory, char *desc)
{
	strscpy(desc, memory->name, KUNIT_PARAM_DESC_SIZE);
}

KUNIT_ARRAY_PARAM(vtd_memory, vtd_memory, vtd_memory_desc);

/* Each allocation of an attach fails, and the device is where it was */
static void vtd_test_no_memory(struct kunit *test)
{
	const struct vtd_memory *memory = test->param_value;
	struct vtd_snapshot *before, *after;
	struct vtd_test_dev *vdev;
	struct vtd_attachment att;
	struct dmar_domain *old;
	char what[16];
	int nth, ret;

	if (memory->kind == SVA)
		vtd_need_sva(test);
	before = vtd_snapshot(test);
	after = vtd_snapshot(test);

	for (nth = 1; nth <= memory->points + 1; nth++) {
		snprintf(what, sizeof(what), "allocation %d", nth);
		vdev = vtd_dev(test, memory->hw);
		vdev->info.ats_supported = 1;
		old = vtd_own_domain(test, vdev);
		if (!memory->first_attach)
			KUNIT_ASSERT_EQ(test, 0, vtd_attach(vdev, old));
		vtd_prepare(test, &att, memory->kind, vdev);

		vtd_snap(before, vdev, old, old);
		vtd_set_fault(nth);
		ret = vtd_do_attach(&att);
		vtd_set_fault(0);
		if (nth <= memory->points) {
			KUNIT_EXPECT_EQ_MSG(test, ret, -ENOMEM, "%s", what);
			vtd_snap(after, vdev, old, old);
			KUNIT_EXPECT_MEMEQ_MSG(test, before, after,
					       sizeof(*before), "%s", what);
			vtd_expect_untouched(test, &att, what);
			ret = vtd_do_attach(&att);
		}
		KUNIT_EXPECT_EQ_MSG(test, ret, 0, "%s", what);
		vtd_do_detach(&att);
		vtd_block(vdev);
		vtd_expect_untouched(test, &att, what);
		KUNIT_EXPECT_EQ_MSG(test, vtd_ids(vdev), NUM_RESERVED_DID, "%s",
				    what);
		vtd_put(&att);
		vtd_free(old);
	}
}

static struct {
	struct dmar_domain *domain;
	struct intel_iommu *iommu;
	u16 did;
	int seen, gone;
} vtd_leaving;

/* The hardware may still use what is being invalidated, and its ID */
static void vtd_look_at_leaving(void)
{
	vtd_leaving.seen++;
	if (list_empty(&vtd_leaving.domain->cache_tags) ||
	    !test_bit(vtd_leaving.did, vtd_leaving.iommu->domain_ids))
		vtd_leaving.gone++;
}

/* Tags and ID are given back when the entry is gone, not before */
static void vtd_test_leave(struct kunit *test)
{
	static const struct {
		enum vtd_hw_id hw;
		enum vtd_kind kind;
		int flushes;
	} cases[] = {
		/* The entry and the IOTLB */
		{ L48, PAGING, 2 }, { S2, PAGING, 2 }, { S12, PAGING, 2 },
		{ S12_NEST, NESTED, 2 }, { S12, PASID, 2 }, { S2, PASID, 2 },
	};
	struct vtd_test_dev *vdev;
	struct vtd_attachment att;
	struct dmar_domain *domain;
	int i;

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		vdev = vtd_dev(test, cases[i].hw);
		vtd_prepare(test, &att, cases[i].kind, vdev);
		domain = vtd_attached(&att);
		KUNIT_ASSERT_EQ(test, 0, vtd_do_attach(&att));

		memset(&vtd_leaving, 0, sizeof(vtd_leaving));
		vtd_leaving.domain = domain;
		vtd_leaving.iommu = &vdev->iommu;
		vtd_leaving.did = vtd_did(vdev, domain);
		vtd_on_flush = vtd_look_at_leaving;
		vtd_do_detach(&att);
		vtd_on_flush = NULL;
		KUNIT_EXPECT_EQ_MSG(test, vtd_leaving.seen, cases[i].flushes,
				    "case %d", i);
		KUNIT_EXPECT_EQ_MSG(test, vtd_leaving.gone, 0, "case %d", i);
		vtd_expect_untouched(test, &att, "left");
		vtd_put(&att);
	}
}

/* With caching mode new mappings are flushed, whoever uses the domain */
static void vtd_test_sync_map(struct kunit *test)
{
	static const struct {
		enum vtd_hw_id hw;
		enum vtd_kind kind;
		int flushes;
	} cases[] = {
		{ L48, PAGING, 0 }, { L48_CM, PAGING, 1 },
		{ S12_NEST, NESTED, 0 }, { S12_NEST_CM, NESTED, 1 },
		{ S12_NEST, PASID, 0 }, { S12_NEST_CM, PASID, 1 },
	};
	struct vtd_test_dev *vdev;
	struct vtd_attachment att;
	struct dmar_domain *domain;
	int i;

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		vdev = vtd_dev(test, cases[i].hw);
		vtd_prepare(test, &att, cases[i].kind, vdev);
		if (cases[i].kind == PASID) {
			/* The one with caching mode is the second stage's */
			vtd_put(&att);
			domain = vtd_domain(test, vdev, false);
			att.domain = &domain->domain;
		}
		domain = att.parent ?: vtd_attached(&att);
		KUNIT_ASSERT_EQ(test, 0, vtd_do_attach(&att));

		vtd_flushes = 0;
		domain->domain.ops->iotlb_sync_map(&domain->domain, 0, SZ_4K);
		KUNIT_EXPECT_EQ_MSG(test, vtd_flushes, cases[i].flushes,
				    "case %d", i);
		vtd_do_detach(&att);
		vtd_put(&att);
	}
}

/* How often device TLBs are invalidated when something is unmapped */
static int vtd_unmap_device_tlb(struct dmar_domain *domain)
{
	vtd_device_tlb_flushes = 0;
	cache_tag_flush_range(domain, 0, SZ_4K - 1, 0);
	return vtd_device_tlb_flushes;
}

/* A device TLB is left alone without ATS, and by domains that are not there */
static void vtd_test_device_tlb(struct kunit *test)
{
	struct vtd_test_dev *vdev = vtd_dev(test, S12);
	struct dmar_domain *first = vtd_own_domain(test, vdev);
	struct dmar_domain *second = vtd_own_domain(test, vdev);

	vdev->info.ats_supported = 1;
	/* Or nothing is sent at all */
	vdev->iommu.gcmd = DMA_GCMD_TE;

	KUNIT_ASSERT_EQ(test, 0, vtd_attach(vdev, first));
	KUNIT_EXPECT_EQ(test, 0, vtd_unmap_device_tlb(first));
	/* Set by hand, and only between attaches: this is no PCI device */
	vdev->info.ats_enabled = 1;
	KUNIT_EXPECT_EQ(test, 1, vtd_unmap_device_tlb(first));
	KUNIT_EXPECT_EQ(test, 0, vtd_unmap_device_tlb(second));

	vdev->info.ats_enabled = 0;
	KUNIT_ASSERT_EQ(test, 0, vtd_attach(vdev, second));
	vdev->info.ats_enabled = 1;
	KUNIT_EXPECT_EQ(test, 0, vtd_unmap_device_tlb(first));
	KUNIT_EXPECT_EQ(test, 1, vtd_unmap_device_tlb(second));
	/* The second domain had the tag while the device was in the first */
	vdev->info.domain = first;
	KUNIT_EXPECT_EQ(test, 0, vtd_unmap_device_tlb(second));
	vdev->info.domain = second;

	/* A PASID's domain is used wherever the device itself is */
	KUNIT_ASSERT_EQ(test, 0, vtd_attach_pasid(vdev, first));
	KUNIT_EXPECT_EQ(test, 1, vtd_unmap_device_tlb(first));
	vdev->info.ats_enabled = 0;
	KUNIT_EXPECT_EQ(test, 0, vtd_unmap_device_tlb(first));
	KUNIT_EXPECT_EQ(test, 0, vtd_unmap_device_tlb(second));

	vtd_remove_pasid(vdev, &first->domain, VTD_TEST_PASID);
	vtd_block(vdev);
	vtd_free(first);
	vtd_free(second);
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

	vtd_on_flush = NULL;
	vtd_set_fault(0);
	kunit_activate_static_stub(test, qi_submit_sync, vtd_qi_submit);
	kunit_activate_static_stub(test, dmar_attach_zalloc, vtd_zalloc);
	kunit_activate_static_stub(test, iommu_alloc_table, vtd_alloc_table);
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
	KUNIT_CASE(vtd_test_free),
	KUNIT_CASE(vtd_test_sp_off),
	KUNIT_CASE(vtd_test_stage),
	KUNIT_CASE(vtd_test_nested),
	KUNIT_CASE(vtd_test_nested_moves),
	KUNIT_CASE(vtd_test_nested_snoop),
	KUNIT_CASE(vtd_test_nested_dirty),
	KUNIT_CASE(vtd_test_dirty_attach),
	KUNIT_CASE(vtd_test_identity),
	KUNIT_CASE(vtd_test_scalable_identity),
	KUNIT_CASE(vtd_test_no_id),
	KUNIT_CASE(vtd_test_way_back),
	KUNIT_CASE(vtd_test_pasid),
	KUNIT_CASE(vtd_test_pasid_busy),
	KUNIT_CASE(vtd_test_pasid_shared),
	KUNIT_CASE(vtd_test_pasid_snoop),
	KUNIT_CASE(vtd_test_snoop_before_attach),
	KUNIT_CASE(vtd_test_snoop_during_attach),
	KUNIT_CASE(vtd_test_copied_blocked),
	KUNIT_CASE(vtd_test_copied),
	KUNIT_CASE_PARAM(vtd_test_no_memory, vtd_memory_gen_params),
	KUNIT_CASE(vtd_test_leave),
	KUNIT_CASE(vtd_test_sync_map),
	KUNIT_CASE(vtd_test_device_tlb),
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
