# SPDX-License-Identifier: GPL-2.0
# What a configuration builds in one folder of a kernel tree; run in the
# build folder, with obj= the folder and srctree= the tree. A single-object
# make would compile an object even where its option is off.

# Nothing from the environment, as in scripts/Makefile.build.
obj-y :=
obj-m :=
lib-y :=
subdir-y :=
subdir-m :=

include include/config/auto.conf
include $(srctree)/scripts/Kbuild.include
include $(srctree)/scripts/Makefile.compiler

src := $(if $(filter .,$(obj)),$(srctree),$(srctree)/$(obj))
# As scripts/Makefile.build finds it.
include $(or $(wildcard $(src)/Kbuild),$(src)/Makefile)
include $(srctree)/scripts/Makefile.lib

.PHONY: lab-list
lab-list:
	@:$(foreach each,$(real-obj-y) $(lib-y),$(info y $(each)))
	@:$(foreach each,$(real-obj-m),$(info m $(each)))
	@:$(foreach each,$(subdir-ym),$(info d $(each)))
