// Show in the sidebar the page that is read: the reference has more names than a screen has lines.
const room = document.querySelector(".sidebar-scroll");
const here = room?.querySelector(".current-page");
if (here) {
  const place = here.getBoundingClientRect().top - room.getBoundingClientRect().top;
  if (place > 0.8 * room.clientHeight) room.scrollTop = place - room.clientHeight / 3;
}
