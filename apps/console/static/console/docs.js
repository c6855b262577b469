const place = document.querySelector("#swagger-ui");
const session = /(?:^|; )llamastack_csrf=([^;]+)/;

SwaggerUIBundle({
  url: place.dataset.described,
  dom_id: "#swagger-ui",
  deepLinking: true,
  validatorUrl: null, // it would ask a server elsewhere
  requestInterceptor(request) {
    const token = session.exec(document.cookie);
    if (token && new URL(request.url, location).origin === location.origin) request.headers["X-CSRFToken"] = token[1];
    return request;
  },
});
