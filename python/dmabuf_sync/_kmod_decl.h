/* SPDX-License-Identifier: MIT */
/* What dmabuf_sync._kmod offers to Python of libkmod, as cffi reads it. */

struct kmod_ctx;
struct kmod_list;
struct kmod_module;

struct kmod_ctx *kmod_new(const char *dirname, const char *const *config_paths);
struct kmod_ctx *kmod_unref(struct kmod_ctx *ctx);
void kmod_set_log_priority(struct kmod_ctx *ctx, int priority);
struct kmod_list *kmod_list_next(const struct kmod_list *list, const struct kmod_list *curr);

int kmod_module_new_from_lookup(struct kmod_ctx *ctx, const char *alias, struct kmod_list **list);
int kmod_module_new_from_name(struct kmod_ctx *ctx, const char *name, struct kmod_module **mod);
int kmod_module_new_from_path(struct kmod_ctx *ctx, const char *path, struct kmod_module **mod);
struct kmod_module *kmod_module_unref(struct kmod_module *mod);
int kmod_module_unref_list(struct kmod_list *list);
struct kmod_module *kmod_module_get_module(const struct kmod_list *entry);
const char *kmod_module_get_path(const struct kmod_module *mod);
const char *kmod_module_get_options(const struct kmod_module *mod);
struct kmod_list *kmod_module_get_holders(const struct kmod_module *mod);
const char *kmod_module_get_name(const struct kmod_module *mod);
int kmod_module_get_initstate(const struct kmod_module *mod);
int kmod_module_get_refcnt(const struct kmod_module *mod);
int kmod_module_insert_module(struct kmod_module *mod, unsigned int flags, const char *options);
int kmod_module_remove_module(struct kmod_module *mod, unsigned int flags);

int kmod_module_get_info(const struct kmod_module *mod, struct kmod_list **list);
const char *kmod_module_info_get_key(const struct kmod_list *entry);
const char *kmod_module_info_get_value(const struct kmod_list *entry);
void kmod_module_info_free_list(struct kmod_list *list);
