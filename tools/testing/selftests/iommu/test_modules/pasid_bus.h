/* SPDX-License-Identifier: GPL-2.0 */
/* The functions of pasid_bus.c: what their drivers have to know. */
#ifndef PASID_BUS_H
#define PASID_BUS_H

#define PASID_BUS_VENDOR	0x1234
#define PASID_BUS_DEVICE	0x9a51

/* Registers in configuration space that only remember, one for each piece */
#define PASID_BUS_PIECES	8
#define PASID_BUS_PIECE(n)	(0x80 + 4 * (n))

#endif /* PASID_BUS_H */
