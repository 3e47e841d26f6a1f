// Keys of the back office: / goes to the search; on a list j and k go down and up, Enter opens.
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea, select, [contenteditable]")) return;
  if (event.key === "/") {
    document.querySelector('.staff-navigation [type="search"]')?.focus();
    event.preventDefault();
  }
  if (event.key === "j" || event.key === "k") {
    const rows = [...document.querySelectorAll("#result_list tbody th a, #content-main th[scope=row] a")];
    const next = rows.indexOf(document.activeElement) + (event.key === "j" ? 1 : -1);
    rows[Math.max(0, Math.min(next, rows.length - 1))]?.focus();
  }
});
