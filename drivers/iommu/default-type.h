/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which type a group's default domain gets, and why.
 */
#ifndef __IOMMU_DEFAULT_TYPE_H
#define __IOMMU_DEFAULT_TYPE_H

#include <linux/types.h>

struct device;

/* Why a group's default domain has its type; type_source in sysfs says it */
enum iommu_type_source {
	IOMMU_TYPE_DEFAULT,	/* nobody asked: the system's default */
	IOMMU_TYPE_UNTRUSTED,	/* a device of the group is not trusted */
	IOMMU_TYPE_DRIVER,	/* the IOMMU driver or the kernel's config */
	IOMMU_TYPE_PARAMETER,	/* a wish on the kernel command line */
	IOMMU_TYPE_QUIRK,	/* a wish of kernel code */
	IOMMU_TYPE_FALLBACK,	/* a wish was accepted, but could not be met */
	IOMMU_TYPE_SYSFS,	/* a write to the group's type file */
};

/* Why a wish for an identity domain is not granted */
enum iommu_wish_refusal {
	IOMMU_WISH_OK,
	IOMMU_WISH_UNTRUSTED,	/* a device of the group is not trusted */
	IOMMU_WISH_DRIVER,	/* the driver, or the config, requires a type */
	IOMMU_WISH_OPPOSED,	/* a device is to be translated */
	IOMMU_WISH_ALONE,	/* a device does not wish it */
	IOMMU_WISH_BRIDGES,	/* no device of the group has a say */
	IOMMU_WISH_ENCRYPTED,	/* memory is encrypted */
	IOMMU_WISH_KDUMP,	/* DMA of a crashed kernel is still running */
	IOMMU_WISH_IN_USE,	/* it came too late: the group is in use */
	IOMMU_WISH_CHOSEN,	/* the type was written to the type file */
};

/**
 * struct iommu_type_request - what a group, as a whole, asks for
 * @global_type: the system's default domain type
 * @dma_type: IOMMU_DOMAIN_DMA or IOMMU_DOMAIN_DMA_FQ, as iommu.strict says
 * @driver_type: the type that the IOMMU driver requires, or 0
 * @prefers_identity: the IOMMU driver says that a device works better without
 *	translation
 * @mem_encrypt: memory is encrypted, which devices may not know how to reach
 *	without translation
 * @untrusted: a device that is not trusted, or NULL
 * @deferred: a device that still does DMA for a crashed kernel, or NULL
 * @passthrough: a device that wishes an identity domain, or NULL
 * @translated: a device that wishes a translated domain, or NULL
 * @unwilling: a device that has a say and does not wish an identity domain,
 *	or NULL
 *
 * The caller fills in what is not a device; iommu_type_request_add()
 * keeps the devices, which are borrowed: the group's mutex, held by the caller,
 * keeps them in the group.
 */
struct iommu_type_request {
	unsigned int global_type;
	unsigned int dma_type;
	unsigned int driver_type;
	bool prefers_identity;
	bool mem_encrypt;
	struct device *untrusted;
	struct device *deferred;
	struct device *passthrough;
	struct device *translated;
	struct device *unwilling;
};

/**
 * struct iommu_type_decision - what a group gets, and why
 * @type: the domain type; 0 leaves it to the system's default and to what the
 *	IOMMU driver can provide
 * @source: who decided
 * @wish: IOMMU_DOMAIN_IDENTITY or IOMMU_DOMAIN_DMA when a wish decided, or 0
 * @can_yield: there is another type to take when a domain of @type cannot be
 *	had, and this is it:
 * @otherwise: the type that the group would have without wishes, 0 as above
 * @refusal: why a wish for an identity domain is not granted
 * @culprit: the device that @refusal is about, or NULL
 */
struct iommu_type_decision {
	unsigned int type;
	enum iommu_type_source source;
	unsigned int wish;
	bool can_yield;
	unsigned int otherwise;
	enum iommu_wish_refusal refusal;
	struct device *culprit;
};

void iommu_type_request_add(struct iommu_type_request *request,
			    struct device *dev);
bool iommu_device_untrusted(struct device *dev);
void iommu_decide_default_type(const struct iommu_type_request *request,
			       struct iommu_type_decision *decision);
void iommu_type_yield(struct iommu_type_decision *decision);
enum iommu_type_source
iommu_type_settled(const struct iommu_type_decision *decision,
		   unsigned int type);
const char *iommu_wish_refused(struct device *dev,
			       const struct iommu_type_decision *decision,
			       unsigned int type, struct device **culprit);
void iommu_report_wish(struct device *dev, int group_id,
		       const struct iommu_type_decision *decision,
		       unsigned int type);
const char *iommu_type_source_str(enum iommu_type_source source);

#endif /* __IOMMU_DEFAULT_TYPE_H */
