/*
 * registry/trust.h - may code of this file run as the user who started us?
 *
 * A plugin runs with the user's rights, so nobody else may be able to put it there: the file
 * and every folder above it belong to root or to the user, and neither group nor others can
 * write to them.  Two exceptions: a folder with the sticky bit (/tmp), where nobody replaces
 * another's file, and the group that has the user's name and nobody else in it, which is
 * what a umask of 0002 is made for.
 *
 * This protects against accidents and against folders that others can write to; it is no
 * protection against a plugin that means harm.
 */
#ifndef HN_REGISTRY_TRUST_H
#define HN_REGISTRY_TRUST_H

#include <hone/status.h>

/* Checks the absolute, resolved path `real` and all folders above it.  HONE_EPLUGIN with the
 * component as place and "<field>: found ..., expected ...; <remedy>" as text.  [main] */
enum hone_status hn_trust_check(const char *real, struct hone_error *err);

#endif
