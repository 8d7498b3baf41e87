// SPDX-License-Identifier: GPL-2.0

#include <linux/mm.h>
#include <linux/page-flags.h>

int rust_helper_PageHWPoison(const struct page *page)
{
	return PageHWPoison(page);
}

void rust_helper_SetPageHWPoison(struct page *page)
{
	SetPageHWPoison(page);
}

int rust_helper_TestClearPageHWPoison(struct page *page)
{
	return TestClearPageHWPoison(page);
}

struct page *rust_helper_pfn_to_page(unsigned long pfn)
{
	return pfn_to_page(pfn);
}
