//! CPUs of this machine as sysfs and cgroups show them.
