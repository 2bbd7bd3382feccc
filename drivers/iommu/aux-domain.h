/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Several domains on one device: what the IOMMU core needs of it.
 */
#ifndef __IOMMU_AUX_DOMAIN_H
#define __IOMMU_AUX_DOMAIN_H

#include <linux/types.h>

struct device;
struct iommu_domain;
struct iommu_group;

/* aux-domain.c, for the core */
bool iommu_aux_capable(struct device *dev);
void iommu_aux_forget_device(struct device *dev);
bool iommu_aux_keep_freed(struct iommu_domain *domain, const void *caller);

/* iommu.c, for aux-domain.c */
int iommu_device_share_default_domain(struct device *dev);
void iommu_device_unshare_default_domain(struct device *dev);
u32 iommu_group_max_pasids(struct iommu_group *group);
int iommu_alloc_global_pasid_below(u32 max_pasids);

#endif /* __IOMMU_AUX_DOMAIN_H */
