// SPDX-License-Identifier: GPL-2.0-only
/*
 * The rules for a group's default domain type, over every combination of what
 * one to three devices can say, against a table that was written from the
 * rules' description and not from their code.
 */
#include <kunit/test.h>
#include <linux/iommu.h>
#include <linux/pci.h>

#include "../default-type.h"

#define DMA		IOMMU_DOMAIN_DMA
#define DMA_FQ		IOMMU_DOMAIN_DMA_FQ
#define IDENTITY	IOMMU_DOMAIN_IDENTITY

#define MAX_DEVICES	3

/* What one device can say, as bits of a number */
#define SAYS_UNTRUSTED		BIT(0)
#define SAYS_PASSTHROUGH	BIT(1)
#define SAYS_TRANSLATED		BIT(2)
#define SAYS_BRIDGE		BIT(3)
#define NR_DEVICE_CASES		16

/* What a group can be like otherwise */
struct surroundings {
	unsigned int driver;
	bool prefers;
	unsigned int global;
	bool encrypted;
	bool crashed;
};

enum answer { NO, YES, ANY };
enum outcome { STRICT, TRANSLATED, BYPASS, SYSTEM };

/* The first row that fits decides */
static const struct row {
	enum answer untrusted, needs_dma, needs_identity, translated, prefers;
	enum answer all_endpoints_wish, encrypted, crashed;
	enum outcome outcome;
	enum iommu_type_source source;
} rows[] = {
	{ YES, ANY, ANY, ANY, ANY, ANY, ANY, ANY,
	  STRICT, IOMMU_TYPE_UNTRUSTED },
	{ NO, YES, NO, ANY, ANY, ANY, ANY, ANY,
	  STRICT, IOMMU_TYPE_DRIVER },
	{ NO, NO, YES, ANY, ANY, ANY, ANY, ANY,
	  BYPASS, IOMMU_TYPE_DRIVER },
	{ NO, NO, NO, YES, ANY, ANY, ANY, ANY,
	  TRANSLATED, IOMMU_TYPE_PARAMETER },
	{ NO, NO, NO, NO, YES, ANY, ANY, ANY,
	  BYPASS, IOMMU_TYPE_DRIVER },
	{ NO, NO, NO, NO, NO, YES, NO, NO,
	  BYPASS, IOMMU_TYPE_PARAMETER },
	{ NO, NO, NO, NO, NO, ANY, ANY, ANY,
	  SYSTEM, IOMMU_TYPE_DEFAULT },
};

static bool fits(enum answer wanted, bool is)
{
	return wanted == ANY || (wanted == YES) == is;
}

static const struct row *row_of(const unsigned int *says, unsigned int count,
				const struct surroundings *around)
{
	unsigned int endpoints = 0, wishing = 0;
	bool untrusted = false, translated = false;

	for (unsigned int i = 0; i < count; i++) {
		untrusted |= says[i] & SAYS_UNTRUSTED;
		translated |= says[i] & SAYS_TRANSLATED;
		if (says[i] & SAYS_BRIDGE)
			continue;
		endpoints++;
		wishing += !!(says[i] & SAYS_PASSTHROUGH);
	}

	for (const struct row *row = rows; row < rows + ARRAY_SIZE(rows); row++)
		if (fits(row->untrusted, untrusted) &&
		    fits(row->needs_dma, around->driver == DMA) &&
		    fits(row->needs_identity, around->driver == IDENTITY) &&
		    fits(row->translated, translated) &&
		    fits(row->prefers, around->prefers) &&
		    fits(row->all_endpoints_wish,
			 endpoints && wishing == endpoints) &&
		    fits(row->encrypted, around->encrypted) &&
		    fits(row->crashed, around->crashed))
			return row;
	return NULL;
}

static unsigned int type_of(enum outcome outcome, unsigned int lazy_or_strict,
			    unsigned int global)
{
	switch (outcome) {
	case STRICT:
		return DMA;
	case TRANSLATED:
		return lazy_or_strict;
	case BYPASS:
		return IDENTITY;
	case SYSTEM:
		break;
	}
	return global;
}

static void make_device(struct pci_dev *pdev, struct dev_iommu *iommu,
			unsigned int says, bool crashed)
{
	pdev->untrusted = says & SAYS_UNTRUSTED;
	pdev->hdr_type = says & SAYS_BRIDGE ? PCI_HEADER_TYPE_BRIDGE :
					      PCI_HEADER_TYPE_NORMAL;
	pdev->dev.bus = &pci_bus_type;
	pdev->dev.iommu = iommu;
	pdev->dev.iommu_passthrough = says & SAYS_PASSTHROUGH;
	pdev->dev.iommu_translated = says & SAYS_TRANSLATED;
	pdev->dev.iommu_wish_parameter = true;
	iommu->attach_deferred = crashed;
}

struct rules_test {
	struct pci_dev pdev[MAX_DEVICES];
	struct dev_iommu iommu[MAX_DEVICES];
};

static bool check_combination(struct kunit *test, struct rules_test *rules,
			      const unsigned int *says, unsigned int count,
			      const struct surroundings *around)
{
	unsigned int lazy_or_strict = around->global == DMA ? DMA : DMA_FQ;
	const struct row *row = row_of(says, count, around);
	struct iommu_type_request request = {
		.global_type = around->global,
		.dma_type = lazy_or_strict,
		.driver_type = around->driver,
		.prefers_identity = around->prefers,
		.mem_encrypt = around->encrypted,
	};
	struct iommu_type_decision decision;
	unsigned int type, wanted;

	for (unsigned int i = 0; i < count; i++) {
		make_device(&rules->pdev[i], &rules->iommu[i], says[i],
			    around->crashed && !i);
		iommu_type_request_add(&request, &rules->pdev[i].dev);
	}
	iommu_decide_default_type(&request, &decision);

	if (!row) {
		KUNIT_FAIL(test, "the table has no row");
		return false;
	}
	wanted = type_of(row->outcome, lazy_or_strict, around->global);
	type = decision.type ?: around->global;
	if (type == wanted && decision.source == row->source)
		return true;
	KUNIT_FAIL(test,
		   "%u devices %x %x %x, driver %u%s, global %u%s%s: type %u source %d, expected %u %d",
		   count, says[0], count > 1 ? says[1] : 0,
		   count > 2 ? says[2] : 0, around->driver,
		   around->prefers ? " prefers" : "", around->global,
		   around->encrypted ? " encrypted" : "",
		   around->crashed ? " crashed" : "", type, decision.source,
		   wanted, row->source);
	return false;
}

static unsigned int check_surroundings(struct kunit *test,
				       struct rules_test *rules,
				       const struct surroundings *around)
{
	unsigned int combinations = 1, checked = 0;
	unsigned int says[MAX_DEVICES];

	for (unsigned int count = 1; count <= MAX_DEVICES; count++) {
		combinations *= NR_DEVICE_CASES;
		for (unsigned int number = 0; number < combinations; number++) {
			unsigned int rest = number;

			for (unsigned int i = 0; i < count; i++) {
				says[i] = rest % NR_DEVICE_CASES;
				rest /= NR_DEVICE_CASES;
			}
			if (!check_combination(test, rules, says, count,
					       around))
				return checked;
			checked++;
		}
	}
	return checked;
}

static void test_every_combination(struct kunit *test)
{
	static const unsigned int drivers[] = { 0, DMA, IDENTITY };
	static const unsigned int globals[] = { DMA, DMA_FQ, IDENTITY };
	const unsigned int each = 16 + 16 * 16 + 16 * 16 * 16;
	struct rules_test *rules;
	unsigned int checked = 0;

	rules = kunit_kzalloc(test, sizeof(*rules), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, rules);

	for (unsigned int bits = 0; bits < 8; bits++)
		for (int d = 0; d < ARRAY_SIZE(drivers); d++)
			for (int g = 0; g < ARRAY_SIZE(globals); g++)
				checked += check_surroundings(test, rules,
					&(struct surroundings) {
						.driver = drivers[d],
						.global = globals[g],
						.prefers = bits & 1,
						.encrypted = bits & 2,
						.crashed = bits & 4,
					});
	KUNIT_EXPECT_EQ(test, checked, 8 * 9 * each);
}

static struct kunit_case type_rules_cases[] = {
	KUNIT_CASE_SLOW(test_every_combination),
	{}
};

static struct kunit_suite type_rules_suite = {
	.name = "iommu_type_rules",
	.test_cases = type_rules_cases,
};

kunit_test_suite(type_rules_suite);
