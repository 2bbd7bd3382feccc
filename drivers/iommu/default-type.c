// SPDX-License-Identifier: GPL-2.0-only
/*
 * Which type a group's default domain gets, and why.
 *
 * An IOMMU group is the smallest set of devices that can be kept apart, so all
 * of its devices share one default domain. A device may carry a wish for the
 * type of that domain: from the kernel command line, or from kernel code that
 * knows the device. This file turns the wishes of a group's devices, together
 * with what protects the system, into one decision. It decides and explains;
 * iommu.c allocates and attaches.
 *
 * The rules, first match wins:
 *
 * 1. A device that is not trusted: translated, strict.
 * 2. The IOMMU driver, or the kernel's configuration, requires a type: that.
 * 3. Any device wishes translation: translated, strict or lazy as iommu.strict
 *    says.
 * 4. The IOMMU driver prefers identity for a device: identity.
 * 5. Every device wishes identity, where PCI-to-PCI bridges have no say, and
 *    there is at least one with a say: identity. Not with encrypted memory,
 *    and not while DMA of a crashed kernel is still running.
 * 6. The system's default.
 *
 * A wish is a preference: when its domain cannot be had, the group gets the
 * type that it would have had without wishes.
 */
#include <kunit/static_stub.h>
#include <linux/device.h>
#include <linux/export.h>
#include <linux/iommu.h>
#include <linux/pci.h>

#include "default-type.h"

static bool is_pci_bridge(struct device *dev)
{
	return dev_is_pci(dev) &&
	       to_pci_dev(dev)->hdr_type == PCI_HEADER_TYPE_BRIDGE;
}

static bool is_translated(unsigned int type)
{
	return type & __IOMMU_DOMAIN_DMA_API;
}

/**
 * iommu_device_untrusted - may the device try to reach what it must not?
 * @dev: the device
 *
 * Return: true for a PCI device that firmware or the kernel says is outside of
 * what the system's owner controls.
 */
bool iommu_device_untrusted(struct device *dev)
{
	KUNIT_STATIC_STUB_REDIRECT(iommu_device_untrusted, dev);

	return dev_is_pci(dev) && to_pci_dev(dev)->untrusted;
}

/* Name the device whose wish came from the command line, if there is one */
static void keep_wisher(struct device **wisher, struct device *dev)
{
	if (!*wisher || dev->iommu_wish_parameter)
		*wisher = dev;
}

/**
 * iommu_type_request_add - add a device's part to what its group asks for
 * @request: the group's request
 * @dev: the device
 *
 * Context: the group's mutex is held.
 */
void iommu_type_request_add(struct iommu_type_request *request,
			    struct device *dev)
{
	if (iommu_device_untrusted(dev))
		request->untrusted = dev;
	if (dev->iommu && dev->iommu->attach_deferred)
		request->deferred = dev;

	if (dev->iommu_translated)
		keep_wisher(&request->translated, dev);

	/*
	 * A bridge forwards DMA and does next to none of its own, so it must
	 * not keep the devices behind it from their wish. It may still have to
	 * be protected, hence it is asked above.
	 */
	if (is_pci_bridge(dev))
		return;
	if (dev->iommu_passthrough)
		keep_wisher(&request->passthrough, dev);
	else
		request->unwilling = dev;
}

static void refuse(struct iommu_type_decision *decision,
		   enum iommu_wish_refusal refusal, struct device *culprit)
{
	decision->refusal = refusal;
	decision->culprit = culprit;
}

static void grant(struct iommu_type_decision *decision, unsigned int type,
		  const struct device *wisher,
		  const struct iommu_type_request *request)
{
	decision->source = wisher->iommu_wish_parameter ?
				   IOMMU_TYPE_PARAMETER : IOMMU_TYPE_QUIRK;
	if (is_translated(type))
		decision->wish = IOMMU_DOMAIN_DMA;
	else
		decision->wish = IOMMU_DOMAIN_IDENTITY;

	if (request->prefers_identity)
		decision->otherwise = IOMMU_DOMAIN_IDENTITY;
	/* What everybody gets needs no way back: there is nothing behind it */
	else if (is_translated(type) == is_translated(request->global_type))
		return;

	decision->type = type;
	decision->can_yield = true;
}

/**
 * iommu_decide_default_type - decide the type of a group's default domain
 * @request: what the group asks for
 * @decision: where the decision is put
 *
 * The same @request always gives the same @decision; nothing else is looked at
 * and nothing is changed.
 *
 * Context: any; the devices in @request must stay valid while @decision is
 * used.
 */
void iommu_decide_default_type(const struct iommu_type_request *request,
			       struct iommu_type_decision *decision)
{
	*decision = (struct iommu_type_decision) {};

	if (request->untrusted) {
		decision->type = IOMMU_DOMAIN_DMA;
		decision->source = IOMMU_TYPE_UNTRUSTED;
		refuse(decision, IOMMU_WISH_UNTRUSTED, request->untrusted);
	} else if (request->driver_type) {
		decision->type = request->driver_type;
		decision->source = IOMMU_TYPE_DRIVER;
		refuse(decision, IOMMU_WISH_DRIVER, NULL);
	} else if (request->translated) {
		grant(decision, request->dma_type, request->translated,
		      request);
		refuse(decision, IOMMU_WISH_OPPOSED, request->translated);
	} else if (request->prefers_identity) {
		decision->type = IOMMU_DOMAIN_IDENTITY;
		decision->source = IOMMU_TYPE_DRIVER;
	} else if (request->unwilling) {
		refuse(decision, IOMMU_WISH_ALONE, request->unwilling);
	} else if (request->mem_encrypt) {
		refuse(decision, IOMMU_WISH_ENCRYPTED, NULL);
	} else if (request->deferred) {
		refuse(decision, IOMMU_WISH_KDUMP, request->deferred);
	} else if (request->passthrough) {
		grant(decision, IOMMU_DOMAIN_IDENTITY, request->passthrough,
		      request);
	}
}

/**
 * iommu_type_yield - take the type that the group would have without the wish
 * @decision: the decision, whose can_yield is set
 */
void iommu_type_yield(struct iommu_type_decision *decision)
{
	decision->type = decision->otherwise;
	decision->can_yield = false;
}

/**
 * iommu_type_settled - why a group has the type that it has in the end
 * @decision: the decision
 * @type: the type of the domain that was attached
 *
 * Return: the decision's source, or IOMMU_TYPE_FALLBACK when it was a wish that
 * could not be met.
 */
enum iommu_type_source
iommu_type_settled(const struct iommu_type_decision *decision,
		   unsigned int type)
{
	if (decision->wish &&
	    is_translated(decision->wish) != is_translated(type))
		return IOMMU_TYPE_FALLBACK;
	return decision->source;
}

static const char *refusal_str(enum iommu_wish_refusal refusal)
{
	switch (refusal) {
	case IOMMU_WISH_OK:
		break;
	case IOMMU_WISH_UNTRUSTED:
		return "the group has an untrusted device, ";
	case IOMMU_WISH_DRIVER:
		return "the IOMMU driver, or this kernel's configuration, requires another type";
	case IOMMU_WISH_OPPOSED:
		return "the group has a device to be translated, ";
	case IOMMU_WISH_ALONE:
		return "the group has a device that does not wish it, ";
	case IOMMU_WISH_BRIDGES:
		return "the group has only bridges";
	case IOMMU_WISH_ENCRYPTED:
		return "memory is encrypted";
	case IOMMU_WISH_KDUMP:
		return "a crashed kernel left translation enabled for ";
	case IOMMU_WISH_IN_USE:
		return "the group is in use";
	case IOMMU_WISH_CHOSEN:
		return "the group's type was chosen in sysfs";
	}
	return "such a domain cannot be allocated or attached";
}

/**
 * iommu_wish_refused - why is a device's wish not granted?
 * @dev: a device with a wish
 * @decision: what was decided for its group
 * @type: the type of the domain that was attached in the end
 * @culprit: set to the device that the reason ends with, or to NULL
 *
 * Return: the reason, or NULL if the group has the type that @dev wishes.
 */
const char *iommu_wish_refused(struct device *dev,
			       const struct iommu_type_decision *decision,
			       unsigned int type, struct device **culprit)
{
	enum iommu_wish_refusal refusal = decision->refusal;

	*culprit = NULL;
	if (dev->iommu_translated) {
		if (is_translated(type))
			return NULL;
		/* The other reasons are none against translation */
		if (refusal != IOMMU_WISH_DRIVER &&
		    refusal != IOMMU_WISH_IN_USE &&
		    refusal != IOMMU_WISH_CHOSEN)
			refusal = IOMMU_WISH_OK;
		return refusal_str(refusal);
	}

	/* There the architecture puts a translation of its own on top */
	if (type == IOMMU_DOMAIN_IDENTITY &&
	    !IS_ENABLED(CONFIG_ARM_DMA_USE_IOMMU))
		return NULL;
	if (refusal == IOMMU_WISH_OK && !decision->wish)
		refusal = IOMMU_WISH_BRIDGES;
	*culprit = decision->culprit;
	return refusal_str(refusal);
}

/**
 * iommu_report_wish - say what became of a device's wish
 * @dev: the device; nothing is said when it has no wish
 * @group_id: the number of its group
 * @decision: what was decided for the group
 * @type: the type of the domain that was attached in the end
 *
 * Context: the group's mutex is held.
 */
void iommu_report_wish(struct device *dev, int group_id,
		       const struct iommu_type_decision *decision,
		       unsigned int type)
{
	const char *what = dev->iommu_translated ? "a translated" :
						   "an identity";
	const char *from = dev->iommu_wish_parameter ? "parameter" : "quirk";
	struct device *culprit;
	const char *reason;

	KUNIT_STATIC_STUB_REDIRECT(iommu_report_wish, dev, group_id, decision,
				   type);

	if (!dev->iommu_passthrough && !dev->iommu_translated)
		return;

	reason = iommu_wish_refused(dev, decision, type, &culprit);
	if (!reason) {
		dev_info(dev,
			 "Wish for %s default domain granted, iommu group %d (%s)\n",
			 what, group_id, from);
		return;
	}

	/* A protection that was asked for and is not there is an error */
	dev_printk(dev->iommu_translated ? KERN_ERR : KERN_WARNING, dev,
		   "Wish for %s default domain not granted, iommu group %d (%s): %s%s\n",
		   what, group_id, from, reason,
		   culprit ? dev_name(culprit) : "");
}

/**
 * iommu_type_source_str - the word for a source
 * @source: the source
 *
 * Return: the word that the type_source file shows, without a newline.
 */
const char *iommu_type_source_str(enum iommu_type_source source)
{
	switch (source) {
	case IOMMU_TYPE_DEFAULT:
		return "default";
	case IOMMU_TYPE_UNTRUSTED:
		return "untrusted";
	case IOMMU_TYPE_DRIVER:
		return "driver";
	case IOMMU_TYPE_PARAMETER:
		return "parameter";
	case IOMMU_TYPE_QUIRK:
		return "quirk";
	case IOMMU_TYPE_FALLBACK:
		return "fallback";
	case IOMMU_TYPE_SYSFS:
		return "sysfs";
	}
	return "unknown";
}

/**
 * iommu_device_set_wish - wish a default domain type for a device
 * @dev: a device that is initialized and not yet added
 * @type: IOMMU_DOMAIN_IDENTITY to bypass the IOMMU, IOMMU_DOMAIN_DMA to be
 *	translated
 *
 * For kernel code that knows a device better than the administrator has to: a
 * PCI header quirk, or a bus driver that creates devices. The IOMMU group of
 * the device weighs the wish with those of its other devices and may not grant
 * it; the log and the group's type_source file in sysfs say what became of it.
 * When both types are wished, the device is translated. What the kernel
 * command line says about a device is not changed.
 *
 * The idea is Lu Baolu's, "[RFC PATCH 0/4] iommu: Per-group default domain
 * type", January 2020.
 *
 * Context: the caller owns @dev alone, as between device_initialize() and
 * device_add(). Takes no locks.
 *
 * Return: 0 when the wish is noted, -EINVAL for another @type, -EBUSY when @dev
 * has been added already, -EEXIST when the command line has decided.
 */
int iommu_device_set_wish(struct device *dev, unsigned int type)
{
	if (type != IOMMU_DOMAIN_IDENTITY && type != IOMMU_DOMAIN_DMA)
		return -EINVAL;
	if (device_is_registered(dev))
		return -EBUSY;
	if (dev->iommu_wish_parameter)
		return -EEXIST;

	if (type == IOMMU_DOMAIN_IDENTITY)
		dev->iommu_passthrough = true;
	else
		dev->iommu_translated = true;
	return 0;
}
EXPORT_SYMBOL_GPL(iommu_device_set_wish);
