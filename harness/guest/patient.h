/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Put before a selftest: emulation is slow, and no test is to fail for that.
 * The limit of what hangs, in seconds for real hardware, is only stretched.
 */
#ifndef LAB_PATIENT_H
#define LAB_PATIENT_H

#include <unistd.h>

#define alarm(seconds)	alarm((seconds) * 20)

#endif /* LAB_PATIENT_H */
