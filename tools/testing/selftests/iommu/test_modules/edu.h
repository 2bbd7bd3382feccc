/* SPDX-License-Identifier: GPL-2.0 */
/* QEMU's "edu" device, as far as its DMA engine goes */
#ifndef EDU_H
#define EDU_H

#include <linux/bits.h>
#include <linux/io-64-nonatomic-lo-hi.h>
#include <linux/iopoll.h>
#include <linux/time64.h>
#include <linux/types.h>

#define EDU_VENDOR		0x1234
#define EDU_DEVICE		0x11e8

#define EDU_DMA_SOURCE		0x80
#define EDU_DMA_TARGET		0x88
#define EDU_DMA_COUNT		0x90
#define EDU_DMA_COMMAND		0x98
#define EDU_DMA_RUN		BIT(0)
#define EDU_DMA_TO_MEMORY	BIT(1)

/* Where the device sees its own buffer. */
#define EDU_BUFFER		0x40000

#define EDU_DMA_POLL_US		1000
#define EDU_DMA_TIMEOUT_US	(30 * USEC_PER_SEC)

/* Start a transfer of 64 bits. */
static inline void edu_start(void __iomem *regs, u64 source, u64 target,
			     u64 command)
{
	writeq(source, regs + EDU_DMA_SOURCE);
	writeq(target, regs + EDU_DMA_TARGET);
	writeq(sizeof(u64), regs + EDU_DMA_COUNT);
	writeq(command | EDU_DMA_RUN, regs + EDU_DMA_COMMAND);
}

/*
 * Transfer 64 bits. The engine does one transfer at a time, so the caller has
 * to see to it that there is no other.
 *
 * Context: May sleep.
 * Return: 0, or -ETIMEDOUT.
 */
static inline int edu_transfer(void __iomem *regs, u64 source, u64 target,
			       u64 command)
{
	u64 state;

	edu_start(regs, source, target, command);
	return readq_poll_timeout(regs + EDU_DMA_COMMAND, state,
				  !(state & EDU_DMA_RUN), EDU_DMA_POLL_US,
				  EDU_DMA_TIMEOUT_US);
}

/* As edu_transfer(), for a context that may not sleep. */
static inline int edu_transfer_atomic(void __iomem *regs, u64 source,
				      u64 target, u64 command)
{
	u64 state;

	edu_start(regs, source, target, command);
	return readq_poll_timeout_atomic(regs + EDU_DMA_COMMAND, state,
					 !(state & EDU_DMA_RUN), 10,
					 EDU_DMA_TIMEOUT_US);
}

#endif /* EDU_H */
