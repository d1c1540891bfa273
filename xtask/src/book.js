// What scrolls can be scrolled by keys too.
for (const wide of document.querySelectorAll("pre > code, .table-wrapper")) {
    wide.tabIndex = 0;
}
