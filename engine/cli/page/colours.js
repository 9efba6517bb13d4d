// Loaded before anything is drawn, so that no page flashes in the wrong colours.
try {
  const chosen = localStorage.getItem("omnizap.colours");
  if (chosen === "light" || chosen === "dark") {
    document.documentElement.dataset.colours = chosen;
  }
} catch {
  // A browser that keeps nothing shows what its system prefers.
}
