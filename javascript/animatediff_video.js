// The hosts' galleries know only <img>. Where one points to an MP4 or WEBM, a <video> takes its place on the page.
(function () {
    const VIDEO_FILE = /\.(mp4|webm)(\?|#|$)/i;
    const PICTURES = '[id$="_gallery"] img, #lightboxModal img';

    function videoBeside(img) {
        const next = img.nextElementSibling;
        return next && next.classList.contains("animatediff-video") ? next : null;
    }

    function makeVideo(img) {
        const video = document.createElement("video");
        video.className = "animatediff-video";
        Object.assign(video, {muted: true, loop: true, autoplay: true, playsInline: true});
        const isThumbnail = img.closest(".thumbnail-item, .thumbnails, .grid-container") !== null;
        video.controls = !isThumbnail;
        if (isThumbnail) {
            video.classList.add("animatediff-thumbnail");
        } else {
            // the host takes a click on the picture as "next picture" or "close"
            video.addEventListener("click", (event) => event.stopPropagation());
        }
        img.after(video);
        return video;
    }

    function syncPicture(img) {
        const source = img.getAttribute("src") || "";
        const video = videoBeside(img);
        if (!VIDEO_FILE.test(source)) {
            if (video) {
                video.remove();
                img.classList.remove("animatediff-poster");
            }
            return;
        }
        const player = video || makeVideo(img);
        if (player.getAttribute("src") !== source) {
            player.setAttribute("src", source);
        }
        // the gallery leaves room for its thumbnails by a style of the picture's own
        player.style.height = img.style.height;
        img.classList.add("animatediff-poster");
    }

    let scheduled = false;
    function sync() {
        if (scheduled) {
            return;
        }
        scheduled = true;
        requestAnimationFrame(() => {
            scheduled = false;
            document.querySelectorAll(PICTURES).forEach(syncPicture);
        });
    }

    if (typeof onUiUpdate === "function") {
        onUiUpdate(sync);
    }
    // hosts report new elements, but not a new src of an old one
    document.addEventListener("DOMContentLoaded", () => {
        new MutationObserver(sync).observe(document.body, {subtree: true, childList: true, attributes: true, attributeFilter: ["src"]});
    });
})();
