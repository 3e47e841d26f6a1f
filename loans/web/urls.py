"""Route the public pages."""

from django.urls import path

from loans.web import views

urlpatterns = [
    path("", views.market_page, name="market"),
    path("loans/<slug:reference>/", views.loan_page, name="loan-page"),
    path("loans/<slug:reference>", views.loan_page),
    path("zip/", views.zip_form_page, name="zip-box"),
    path("zip/<str:asked>/", views.zip_page, name="zip-page"),
    path("zip/<str:asked>", views.zip_page),
]
