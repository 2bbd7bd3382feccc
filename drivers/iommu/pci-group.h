/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which functions of a PCI bus have to share an IOMMU group
 */
#ifndef __DRIVERS_IOMMU_PCI_GROUP_H
#define __DRIVERS_IOMMU_PCI_GROUP_H

#include <linux/pci.h>

struct iommu_group;

/*
 * To consider a PCI device isolated, we require ACS to support Source
 * Validation, Request Redirection, Completer Redirection, and Upstream
 * Forwarding.  This effectively means that devices cannot spoof their
 * requester ID, requests and completions cannot be redirected, and all
 * transactions are forwarded upstream, even as it passes through a
 * bridge where the target device is downstream.
 */
#define REQ_ACS_FLAGS   (PCI_ACS_SV | PCI_ACS_RR | PCI_ACS_CR | PCI_ACS_UF)

#ifdef CONFIG_PCI

/* Functions that were looked at since boot; what KUnit measures effort with */
extern unsigned long pci_group_visits;

struct iommu_group *pci_group_of_inseparable(struct pci_dev *pdev);
void pci_group_end_pass(void);

#else /* !CONFIG_PCI */

static inline struct iommu_group *pci_group_of_inseparable(struct pci_dev *pdev)
{
	return NULL;
}

static inline void pci_group_end_pass(void) { }

#endif /* CONFIG_PCI */

#endif /* __DRIVERS_IOMMU_PCI_GROUP_H */
