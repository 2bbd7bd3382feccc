// SPDX-License-Identifier: GPL-2.0-only
/*
 * Several domains on one device.
 *
 * A device that is shared in pieces, each piece for another user, needs a
 * domain for each piece. Its DMA requests carry a number, on PCI a PASID, that
 * says which domain translates them. Such a domain is called auxiliary here:
 * the device keeps its default domain for requests without a number, and
 * neither that domain nor its type is touched.
 *
 * The idea and the names are those of "iommu: Add APIs for multiple domains per
 * device" by Lu Baolu, August 2018. Since then the core has learnt to attach
 * domains to PASIDs, and this file is a layer on that. It adds what a driver
 * would have to know otherwise: one number for a domain wherever it is
 * attached, from the number space that the whole system shares; the limits of
 * the device and of its group; sharing within a group; and an end when the
 * driver goes away without one.
 *
 * Who holds what, all of it protected by iommu_aux_lock:
 *
 * - A device that was enabled, struct iommu_aux_device, hangs off dev->iommu.
 *   As long as it is there, the device counts as a user of its group's default
 *   domain.
 * - A domain that is attached somewhere, struct iommu_aux_domain, hangs off the
 *   domain. It owns the number. It is made by the first attach and freed by
 *   the last detach.
 * - A group that it is attached to, struct aux_group. The core attaches to
 *   groups, so all devices of the group reach the domain. It also is the
 *   core's attach handle.
 * - A device of that group that attached it, struct aux_use. The domain leaves
 *   the group with the last one.
 *
 * A use exists only while its device is enabled, and a device is disabled at
 * the latest when it leaves its group. So the pointers to devices and groups
 * need no references.
 *
 * iommu_aux_lock is one for all devices, and is held while an IOMMU driver
 * invalidates caches and waits for page requests: none of this is a fast path.
 *
 * Lock order: the device's lock, iommu_probe_device_lock, iommu_aux_lock, the
 * group's mutex.
 */
#define pr_fmt(fmt) "iommu: " fmt

#include <linux/cleanup.h>
#include <linux/device.h>
#include <linux/err.h>
#include <linux/export.h>
#include <linux/iommu.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/slab.h>

#include "aux-domain.h"
#include "iommu-priv.h"

struct iommu_aux_device {
	struct list_head uses;
};

struct iommu_aux_domain {
	struct iommu_domain *domain;
	ioasid_t id;
	struct list_head groups;
};

struct aux_group {
	struct iommu_attach_handle handle;
	struct iommu_aux_domain *aux;
	struct iommu_group *group;
	struct list_head in_domain;
	struct list_head uses;
};

struct aux_use {
	struct aux_group *attached;
	struct device *dev;
	struct list_head in_group;
	struct list_head in_device;
};

static DEFINE_MUTEX(iommu_aux_lock);

/* The IOMMU driver switches PASIDs on, and it may have found that it cannot */
static bool device_sends_pasids(struct device *dev)
{
	if (!dev_is_pci(dev))
		return true;
#ifdef CONFIG_PCI_PASID
	/* Virtual functions share what the physical one has */
	return pci_physfn(to_pci_dev(dev))->pasid_enabled;
#else
	return false;
#endif
}

/**
 * iommu_aux_capable - whether a device can have auxiliary domains
 * @dev: a device with an IOMMU
 *
 * Only what the core relies on is asked. An IOMMU driver that attaches nothing
 * but processes (SVA) to PASIDs has the operation for those domains alone.
 *
 * Context: any; @dev stays with its IOMMU.
 *
 * Return: true if the IOMMU driver attaches paging domains to PASIDs, and the
 * device has at least one number to give.
 */
bool iommu_aux_capable(struct device *dev)
{
	const struct iommu_ops *ops = dev_iommu_ops(dev);

	return ops->remove_dev_pasid && ops->default_domain_ops &&
	       ops->default_domain_ops->set_dev_pasid &&
	       dev->iommu->max_pasids > IOMMU_FIRST_GLOBAL_PASID &&
	       device_sends_pasids(dev);
}

static bool dev_in_iommu_group(struct device *dev)
{
	return dev->iommu && dev->iommu->iommu_dev && dev->iommu_group;
}

/**
 * iommu_enable_aux_domain - let a device have auxiliary domains
 * @dev: the device
 *
 * The device gets no number and no domain yet. But from now on it counts as a
 * user of its group's default domain, beside its driver: nobody can claim the
 * group for user space, and the default domain stays, but for being lazy or
 * strict.
 *
 * Only the driver that is bound to @dev, or that is being bound, may call this.
 * It is undone by iommu_disable_aux_domain(), or when the driver is unbound, or
 * its probe fails, after its managed resources are released.
 *
 * Context: process context, may sleep. Takes the group's mutex.
 *
 * Return:
 * * 0 - done
 * * -ENODEV - no IOMMU translates for @dev
 * * -EOPNOTSUPP - not with this device and this IOMMU; what
 *   device_iommu_capable() says for IOMMU_CAP_AUX_DOMAIN
 * * -EBUSY - @dev is enabled already
 * * -EPERM - @dev's driver does not use the DMA API, or user space owns the
 *   group
 * * -ENOMEM - out of memory
 */
int iommu_enable_aux_domain(struct device *dev)
{
	struct iommu_aux_device *adev;
	int ret;

	guard(mutex)(&iommu_aux_lock);

	if (!dev_in_iommu_group(dev))
		return -ENODEV;
	if (!iommu_aux_capable(dev))
		return -EOPNOTSUPP;
	if (dev->iommu->aux)
		return -EBUSY;

	adev = kzalloc(sizeof(*adev), GFP_KERNEL);
	if (!adev)
		return -ENOMEM;
	INIT_LIST_HEAD(&adev->uses);

	ret = iommu_device_share_default_domain(dev);
	if (ret) {
		kfree(adev);
		return ret;
	}
	dev->iommu->aux = adev;
	return 0;
}
EXPORT_SYMBOL_GPL(iommu_enable_aux_domain);

/* A number that every device of the group can send, for a new domain */
static struct iommu_aux_domain *aux_domain_create(struct iommu_domain *domain,
						  struct device *dev)
{
	u32 max_pasids = iommu_group_max_pasids(dev->iommu_group);
	struct iommu_aux_domain *aux;
	int id;

	lockdep_assert_held(&iommu_aux_lock);

	aux = kzalloc(sizeof(*aux), GFP_KERNEL);
	if (!aux)
		return ERR_PTR(-ENOMEM);

	id = iommu_alloc_global_pasid_below(max_pasids);
	if (id < 0) {
		kfree(aux);
		return ERR_PTR(id);
	}
	aux->domain = domain;
	aux->id = id;
	INIT_LIST_HEAD(&aux->groups);
	domain->aux = aux;
	return aux;
}

static void aux_domain_end(struct iommu_aux_domain *aux)
{
	lockdep_assert_held(&iommu_aux_lock);

	/*
	 * Who sees that the domain is no longer attached may free it, see
	 * iommu_aux_keep_freed(): nothing of the domain is used after this.
	 */
	smp_store_release(&aux->domain->aux, NULL);
	iommu_free_global_pasid(aux->id);
	kfree(aux);
}

static struct aux_group *aux_group_attach(struct iommu_aux_domain *aux,
					  struct device *dev)
{
	struct iommu_group *group = dev->iommu_group;
	struct aux_group *attached;
	int ret;

	lockdep_assert_held(&iommu_aux_lock);

	/* The number was chosen for another group */
	if (aux->id >= iommu_group_max_pasids(group))
		return ERR_PTR(-EOVERFLOW);

	attached = kzalloc(sizeof(*attached), GFP_KERNEL);
	if (!attached)
		return ERR_PTR(-ENOMEM);

	/* For all devices of the group, or for none */
	ret = iommu_attach_device_pasid(aux->domain, dev, aux->id,
					&attached->handle);
	/* A device with fewer numbers may have joined a moment ago */
	if (ret == -EINVAL && aux->id >= iommu_group_max_pasids(group))
		ret = -EOVERFLOW;
	if (ret) {
		kfree(attached);
		return ERR_PTR(ret);
	}
	attached->aux = aux;
	attached->group = group;
	INIT_LIST_HEAD(&attached->uses);
	list_add_tail(&attached->in_domain, &aux->groups);
	return attached;
}

static struct aux_group *aux_find_group(struct iommu_aux_domain *aux,
					struct iommu_group *group)
{
	struct aux_group *attached;

	lockdep_assert_held(&iommu_aux_lock);

	list_for_each_entry(attached, &aux->groups, in_domain)
		if (attached->group == group)
			return attached;
	return NULL;
}

static struct aux_use *aux_find_use(struct aux_group *attached,
				    struct device *dev)
{
	struct aux_use *use;

	lockdep_assert_held(&iommu_aux_lock);

	list_for_each_entry(use, &attached->uses, in_group)
		if (use->dev == dev)
			return use;
	return NULL;
}

static int aux_attach(struct iommu_aux_domain *aux, struct device *dev)
{
	struct aux_group *attached = aux_find_group(aux, dev->iommu_group);
	struct aux_use *use;

	lockdep_assert_held(&iommu_aux_lock);

	if (attached && aux_find_use(attached, dev))
		return -EBUSY;

	use = kzalloc(sizeof(*use), GFP_KERNEL);
	if (!use)
		return -ENOMEM;

	if (!attached)
		attached = aux_group_attach(aux, dev);
	if (IS_ERR(attached)) {
		kfree(use);
		return PTR_ERR(attached);
	}
	use->attached = attached;
	use->dev = dev;
	list_add_tail(&use->in_group, &attached->uses);
	list_add_tail(&use->in_device, &dev->iommu->aux->uses);
	return 0;
}

static void aux_detach(struct aux_use *use)
{
	struct aux_group *attached = use->attached;
	struct iommu_aux_domain *aux = attached->aux;

	lockdep_assert_held(&iommu_aux_lock);

	list_del(&use->in_group);
	list_del(&use->in_device);

	if (list_empty(&attached->uses)) {
		iommu_detach_device_pasid(aux->domain, use->dev, aux->id);
		list_del(&attached->in_domain);
		kfree(attached);
	}
	kfree(use);

	if (list_empty(&aux->groups))
		aux_domain_end(aux);
}

/**
 * iommu_aux_attach_device - attach a domain to a device as an auxiliary one
 * @domain: the domain, from iommu_paging_domain_alloc()
 * @dev: the device, for which iommu_enable_aux_domain() was called
 *
 * DMA requests of @dev that carry the number of @domain, which is
 * iommu_auxiliary_id(), are translated by @domain from now on. Requests
 * without a number are not affected.
 *
 * A device may have as many domains as it and its IOMMU have numbers, and a
 * domain may be attached to many devices, of several groups too; it has the
 * same number on all of them. The first attach chooses the number, a small
 * one, so devices with few numbers are best attached first.
 *
 * Devices of one group cannot be kept apart, so the domain serves all that
 * were in the group then. They share it: each driver that wants to use it
 * attaches it itself, and it leaves the group with the last of them. A device
 * that joins the group later gets no numbers before the group uses no PASID any
 * more, be it a domain's or a process's (SVA), and the capability is false for
 * it until then. No further driver can be bound to a device of the group
 * meanwhile, as always while PASIDs are in use.
 *
 * @domain stays the caller's. It must be detached everywhere before it is
 * freed: a domain that is freed while attached is leaked, with a warning. Its
 * memory is never used again, but the devices still reach what is mapped in it
 * until they are detached or their drivers unbound.
 *
 * Only the driver that is bound to @dev, or that is being bound, may call this.
 *
 * Context: process context, may sleep. Takes the group's mutex.
 *
 * Return:
 * * 0 - done
 * * -ENODEV - no IOMMU translates for @dev
 * * -EPERM - iommu_enable_aux_domain() was not called for @dev
 * * -EINVAL - @domain is of another IOMMU driver, is not one that its caller
 *   maps (a default domain, an identity domain), or does not suit the device's
 *   IOMMU
 * * -EBUSY - @domain is attached to @dev already, or somebody uses its number
 *   in the group without having allocated it
 * * -ENOSPC - all numbers are in use that the devices of the group can send
 * * -EOVERFLOW - @domain has a number already, and a device of the group cannot
 *   send it; @domain keeps it
 * * -ENOMEM - out of memory
 * * others - from the IOMMU driver
 *
 * After an error everything is as it was before, for every device of the group.
 */
int iommu_aux_attach_device(struct iommu_domain *domain, struct device *dev)
{
	struct iommu_aux_domain *aux;
	int ret;

	guard(mutex)(&iommu_aux_lock);

	if (!dev_in_iommu_group(dev))
		return -ENODEV;
	if (!dev->iommu->aux)
		return -EPERM;
	/* The core frees a default domain when it likes */
	if (domain->type != IOMMU_DOMAIN_UNMANAGED ||
	    domain->owner != dev_iommu_ops(dev))
		return -EINVAL;

	aux = domain->aux ?: aux_domain_create(domain, dev);
	if (IS_ERR(aux))
		return PTR_ERR(aux);

	ret = aux_attach(aux, dev);
	if (list_empty(&aux->groups)) {
		/* The number was chosen for this group, and is not kept */
		if (ret == -EOVERFLOW)
			ret = -ENOSPC;
		aux_domain_end(aux);
	}
	return ret;
}
EXPORT_SYMBOL_GPL(iommu_aux_attach_device);

/**
 * iommu_aux_detach_device - detach an auxiliary domain from a device
 * @domain: the domain
 * @dev: the device
 *
 * Undoes one iommu_aux_attach_device(). The driver must have made the device
 * stop sending the domain's number. When no other device of the group uses
 * @domain, the number leads nowhere afterwards, for all of the group. When it
 * was the last device of all, the number is given back, and may soon be that
 * of another domain.
 *
 * To detach what is not attached is an error of the caller: it is said in the
 * log, and nothing happens.
 *
 * Only the driver that is bound to @dev may call this.
 *
 * Context: process context, may sleep. Takes the group's mutex.
 */
void iommu_aux_detach_device(struct iommu_domain *domain, struct device *dev)
{
	struct aux_group *attached = NULL;
	struct aux_use *use = NULL;

	guard(mutex)(&iommu_aux_lock);

	if (domain->aux)
		attached = aux_find_group(domain->aux, dev->iommu_group);
	if (attached)
		use = aux_find_use(attached, dev);
	if (!use) {
		dev_warn(dev, "Not attached to the auxiliary domain that %ps detaches\n",
			 __builtin_return_address(0));
		return;
	}
	aux_detach(use);
}
EXPORT_SYMBOL_GPL(iommu_aux_detach_device);

/**
 * iommu_auxiliary_id - the number of an auxiliary domain
 * @domain: the domain
 *
 * The driver tells the device this number, which on PCI is a PASID, so that
 * the device's DMA requests carry it. It is the same on every device that
 * @domain is attached to. A domain gets it with its first attach and keeps it
 * until its last detach; attached again, it may get another one.
 *
 * Context: process context, may sleep. The caller keeps @domain from being
 * freed.
 *
 * Return: the number, 1 or above, or -ENOENT when @domain is attached to no
 * device, as before the first attach and after the last detach.
 */
int iommu_auxiliary_id(struct iommu_domain *domain)
{
	guard(mutex)(&iommu_aux_lock);

	return domain->aux ? domain->aux->id : -ENOENT;
}
EXPORT_SYMBOL_GPL(iommu_auxiliary_id);

static void aux_device_end(struct device *dev)
{
	struct iommu_aux_device *adev = dev->iommu->aux;
	struct aux_use *use, *next;
	unsigned int left = 0;

	lockdep_assert_held(&iommu_aux_lock);

	list_for_each_entry_safe(use, next, &adev->uses, in_device) {
		aux_detach(use);
		left++;
	}
	if (left)
		dev_warn(dev, "Detached %u auxiliary domains that the driver left attached\n",
			 left);
	dev->iommu->aux = NULL;
	kfree(adev);
	iommu_device_unshare_default_domain(dev);
}

/**
 * iommu_disable_aux_domain - undo iommu_enable_aux_domain()
 * @dev: the device
 *
 * The driver has detached its domains before. Those that it has not are
 * detached now, which is said in the log. Nothing happens if @dev is not
 * enabled.
 *
 * Only the driver that is bound to @dev may call this.
 *
 * Context: process context, may sleep. Takes the group's mutex.
 */
void iommu_disable_aux_domain(struct device *dev)
{
	iommu_aux_forget_device(dev);
}
EXPORT_SYMBOL_GPL(iommu_disable_aux_domain);

/**
 * iommu_aux_forget_device - end what a driver left
 * @dev: a device whose driver is gone, or that leaves its group
 *
 * An unbind cannot be refused, so it must not leave a group that nobody can
 * use any more.
 *
 * Context: process context, may sleep. Takes the group's mutex.
 */
void iommu_aux_forget_device(struct device *dev)
{
	/* Only the driver that is bound enables, so it cannot become set now */
	if (!dev->iommu || !READ_ONCE(dev->iommu->aux))
		return;

	guard(mutex)(&iommu_aux_lock);
	if (dev->iommu->aux)
		aux_device_end(dev);
}

/**
 * iommu_aux_keep_freed - whether a domain must not be freed yet
 * @domain: the domain that is to be freed
 * @caller: who frees it
 *
 * Its page tables are still used by a device. Nothing else can be done than to
 * leave them there for good: the caller's pointer is gone after this.
 *
 * Context: any; the group's mutex may be held, so no lock is taken here.
 *
 * Return: true, after a warning, if @domain is attached somewhere.
 */
bool iommu_aux_keep_freed(struct iommu_domain *domain, const void *caller)
{
	/* Pairs with the release in aux_domain_end() */
	if (!smp_load_acquire(&domain->aux))
		return false;
	pr_warn("%ps frees a domain that is attached as an auxiliary one: it is leaked\n",
		caller);
	return true;
}
