import { Button } from '@mantine/core'
import { useTranslation } from 'react-i18next'
import type { LoginProvider } from '../../shared/auth'

/** The ways in by identity providers. They leave the console: a provider is a page. */
export function ProviderButtons(props: { providers: LoginProvider[]; next: string }) {
  const { t } = useTranslation()
  return props.providers.map((one) => (
    <Button
      key={one.name}
      component="a"
      variant="default"
      fullWidth
      href={`/auth/oidc/${encodeURIComponent(one.name)}?next=${encodeURIComponent(props.next)}`}
    >
      {t('login.by', { title: one.title })}
    </Button>
  ))
}
